-- Sessions of users who signed in: like tokens, but they end with what began them, after a time, or unused.

CREATE TABLE admin.session (
    session_id text PRIMARY KEY,
    session_hash bytea NOT NULL UNIQUE,
    username text NOT NULL,
    method text NOT NULL,
    proof text NOT NULL,
    client_address text NOT NULL,
    user_agent text NOT NULL,
    begun timestamptz NOT NULL,
    last_used timestamptz NOT NULL,
    expires timestamptz NOT NULL
);
CREATE INDEX session_username ON admin.session (username, session_id);
CREATE INDEX session_last_used ON admin.session (last_used);
COMMENT ON COLUMN admin.session.proof IS 'What directory gave for the sign-in: another one is wanted after the secret changed.';
COMMENT ON COLUMN admin.session.last_used IS 'Coarse: written at most once in five minutes.';
GRANT SELECT, INSERT, UPDATE, DELETE ON admin.session TO postbus_admin_api;
