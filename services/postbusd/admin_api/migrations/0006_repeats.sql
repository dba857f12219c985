-- Answers of requests with an Idempotency-Key: a request that is sent again is answered again, and not carried out.

CREATE TABLE admin.repeat (
    actor text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    begun timestamptz NOT NULL,
    status integer,
    headers text NOT NULL DEFAULT '',
    body_sealed bytea,
    PRIMARY KEY (actor, key)
);
CREATE INDEX repeat_begun ON admin.repeat (begun);
COMMENT ON COLUMN admin.repeat.fingerprint IS 'SHA-256 of method, path, query and body.';
COMMENT ON COLUMN admin.repeat.status IS 'NULL: under way, or its process ended.';
COMMENT ON COLUMN admin.repeat.headers IS 'JSON.';
COMMENT ON COLUMN admin.repeat.body_sealed IS
    'Answers tell secrets: sealed with the master key for repeat:<actor>:<key>. NULL: too large to be kept.';
GRANT SELECT, INSERT, UPDATE, DELETE ON admin.repeat TO postbus_admin_api;
