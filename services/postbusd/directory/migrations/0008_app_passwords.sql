-- App passwords of users, and what is left of a hash that a login has replaced.

CREATE TABLE directory.app_password (
    user_id uuid NOT NULL REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    secret_index text NOT NULL UNIQUE,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    expires timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    last_used timestamptz,
    PRIMARY KEY (user_id, name)
);
COMMENT ON COLUMN directory.app_password.secret_index IS 'HMAC-SHA-256 of the password, hexadecimal.';
COMMENT ON COLUMN directory.app_password.last_used IS 'To the hour.';

ALTER TABLE directory.credential ADD COLUMN former_digest text;
COMMENT ON COLUMN directory.credential.former_digest IS
    'Of the hash before the same password was hashed anew: sessions that began with it go on. NULL: there is none.';

GRANT SELECT, INSERT, UPDATE, DELETE ON directory.app_password TO postbus_directory;
