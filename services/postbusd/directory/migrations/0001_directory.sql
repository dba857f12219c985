-- Schema `directory`: who we are and who may log in. Only the service `directory` reads and writes it.

CREATE TABLE directory.revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
COMMENT ON TABLE directory.revision IS
    'Counts the committed changes. Each writing transaction increments it last, so that revision order is commit order.';
INSERT INTO directory.revision (revision) VALUES (1);

CREATE TABLE directory.domain (
    name text PRIMARY KEY CHECK (name = lower(name) AND length(name) BETWEEN 3 AND 253),
    incoming boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN directory.domain.name IS 'Lower-case A-labels.';

CREATE TABLE directory.mailbox (
    mailbox_id uuid PRIMARY KEY,
    local_part text NOT NULL CHECK (local_part = lower(local_part) AND length(local_part) BETWEEN 1 AND 200),
    domain text NOT NULL REFERENCES directory.domain (name),
    active boolean NOT NULL DEFAULT true,
    quota_octets bigint CHECK (quota_octets > 0),
    created timestamptz NOT NULL DEFAULT now(),
    UNIQUE (domain, local_part)
);
COMMENT ON COLUMN directory.mailbox.quota_octets IS 'NULL: unlimited.';

-- The oldest active mailbox of a domain (postmaster@, abuse@).
CREATE INDEX mailbox_oldest ON directory.mailbox (domain, created, mailbox_id) WHERE active;
-- Pages over all mailboxes by address.
CREATE INDEX mailbox_address ON directory.mailbox ((local_part || '@' || domain) COLLATE "C");

CREATE TABLE directory.credential (
    mailbox_id uuid NOT NULL REFERENCES directory.mailbox (mailbox_id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('password')),
    secret_hash text NOT NULL,
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (mailbox_id, kind)
);
COMMENT ON COLUMN directory.credential.secret_hash IS 'Argon2id in PHC string format.';

CREATE TABLE directory.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event bytea NOT NULL
);
COMMENT ON TABLE directory.outbox IS
    'Events of committed changes, written in their transaction, deleted after the bus has acknowledged them.';

GRANT USAGE ON SCHEMA directory TO postbus_directory;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA directory TO postbus_directory;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA directory TO postbus_directory;
