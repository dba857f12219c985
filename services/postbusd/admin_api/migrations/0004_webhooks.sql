-- Webhooks: events that other systems are told by HTTPS, at least once each. Rows are made in the transaction that writes
-- the event, so that no event is told to nobody.

CREATE TABLE admin.webhook (
    webhook_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    url text NOT NULL,
    types text[] NOT NULL,
    domain text NOT NULL,
    active boolean NOT NULL,
    secret bytea NOT NULL,
    former_secret bytea,
    former_until_ms bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    paused_until_ms bigint NOT NULL DEFAULT 0,
    last_outcome text NOT NULL DEFAULT '',
    last_ms bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN admin.webhook.types IS 'Of events; empty: all.';
COMMENT ON COLUMN admin.webhook.secret IS 'Sealed under the master key for webhook:<name>.';
COMMENT ON COLUMN admin.webhook.former_secret IS 'The one before a rotation: signs too until former_until_ms.';
COMMENT ON COLUMN admin.webhook.failures IS 'In a row; after each the whole webhook pauses.';

CREATE TABLE admin.webhook_delivery (
    webhook_id bigint NOT NULL REFERENCES admin.webhook ON DELETE CASCADE,
    sequence bigint NOT NULL REFERENCES admin.event (sequence) ON DELETE CASCADE,
    due_ms bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    dead boolean NOT NULL DEFAULT false,
    outcome text NOT NULL DEFAULT '',
    PRIMARY KEY (webhook_id, sequence)
);
COMMENT ON TABLE admin.webhook_delivery IS 'What is still to be told; a row goes when the receiver has said 2xx.';
COMMENT ON COLUMN admin.webhook_delivery.due_ms IS 'Not before; while somebody tells it, the end of his lease.';
COMMENT ON COLUMN admin.webhook_delivery.dead IS 'Given up: kept for an administrator as long as the event.';
CREATE INDEX webhook_delivery_due ON admin.webhook_delivery (webhook_id, due_ms, sequence) WHERE NOT dead;
CREATE INDEX webhook_delivery_dead ON admin.webhook_delivery (webhook_id, sequence) WHERE dead;
CREATE INDEX webhook_delivery_event ON admin.webhook_delivery (sequence);

GRANT SELECT, INSERT, UPDATE, DELETE ON admin.webhook, admin.webhook_delivery TO postbus_admin_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA admin TO postbus_admin_api;
