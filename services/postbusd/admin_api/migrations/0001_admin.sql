-- Schema `admin`: API tokens and the event log. Only the service `admin-api` reads and writes it.

CREATE TABLE admin.token (
    token_id text PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    actor text NOT NULL,
    scopes text[] NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz
);
COMMENT ON COLUMN admin.token.token_hash IS 'SHA-256; tokens are random, so that no slow hash is needed.';
COMMENT ON COLUMN admin.token.expires IS 'NULL: never.';

CREATE TABLE admin.event (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    type text NOT NULL,
    at_ms bigint NOT NULL,
    service text NOT NULL,
    summary text NOT NULL,
    queue_id text NOT NULL,
    message_id text NOT NULL,
    domain text NOT NULL,
    mailbox text NOT NULL,
    reverse_path text NOT NULL,
    forward_path text NOT NULL,
    client_address text NOT NULL,
    detail text NOT NULL,
    traceparent text NOT NULL
);
COMMENT ON COLUMN admin.event.sequence IS
    'Batches are written one after the other under an advisory lock: this sequence is commit order and may be followed.';
CREATE INDEX event_queue_id ON admin.event (queue_id, sequence) WHERE queue_id <> '';
CREATE INDEX event_type ON admin.event (type, sequence);

GRANT USAGE ON SCHEMA admin TO postbus_admin_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA admin TO postbus_admin_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA admin TO postbus_admin_api;
