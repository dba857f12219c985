-- Second factors of users, and codes for who has forgotten the password.

CREATE TABLE directory.second_factor (
    user_id uuid PRIMARY KEY REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    secret_sealed bytea NOT NULL,
    confirmed timestamptz,
    last_step bigint NOT NULL DEFAULT 0,
    recovery_indexes text[] NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN directory.second_factor.secret_sealed IS
    'Of RFC 6238, sealed with the master key for second_factor:<username>.';
COMMENT ON COLUMN directory.second_factor.confirmed IS 'NULL: begun, not in force.';
COMMENT ON COLUMN directory.second_factor.last_step IS 'Of the last code that was taken: none opens twice.';
COMMENT ON COLUMN directory.second_factor.recovery_indexes IS 'Keyed digests of the codes that are left.';

CREATE TABLE directory.password_reset (
    user_id uuid PRIMARY KEY REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    code_index text NOT NULL UNIQUE,
    begun timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL
);
COMMENT ON COLUMN directory.password_reset.code_index IS 'A keyed digest of the code.';

GRANT SELECT, INSERT, UPDATE, DELETE ON directory.second_factor, directory.password_reset TO postbus_directory;

-- The identity provider of others, at most one.
CREATE TABLE directory.identity_provider (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    issuer text NOT NULL,
    provider jsonb NOT NULL,
    secret_sealed bytea NOT NULL
);
COMMENT ON COLUMN directory.identity_provider.provider IS 'postbus.contracts.identity_provider.IdentityProvider.';
COMMENT ON COLUMN directory.identity_provider.secret_sealed IS
    'Of the client, sealed with the master key for identity_provider; empty: none.';
GRANT SELECT, INSERT, UPDATE, DELETE ON directory.identity_provider TO postbus_directory;
