-- The outgoing queue (architecture §3): one row a message, one a final recipient. Finished copies stay for a while: the
-- key (queue_id, recipient) makes every redelivery from the bus harmless (promise 2), and the row tells what became of it.

CREATE TABLE delivery.outgoing (
    queue_id text COLLATE "C" PRIMARY KEY,
    origin text NOT NULL,
    blob_id text NOT NULL,
    blob_octets bigint NOT NULL,
    prefix bytea NOT NULL,
    body text NOT NULL,
    smtputf8 boolean NOT NULL,
    ret text NOT NULL,
    envid text NOT NULL,
    message_id text NOT NULL,
    accepted_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    traceparent text NOT NULL
);

CREATE TABLE delivery.outgoing_copy (
    queue_id text COLLATE "C" NOT NULL REFERENCES delivery.outgoing (queue_id) ON DELETE CASCADE,
    recipient text COLLATE "C" NOT NULL,
    domain text COLLATE "C" NOT NULL,            -- the recipient's
    reverse_path text NOT NULL,
    route_domain text COLLATE "C" NOT NULL,      -- whose relay and DKIM keys
    notify text[] NOT NULL,
    orcpt text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'held', 'sent', 'failed', 'cancelled')),
    due_ms bigint NOT NULL,                      -- of a finished copy the time of its end
    attempts integer NOT NULL DEFAULT 0,
    lease_owner text NOT NULL DEFAULT '',
    lease_token bigint NOT NULL DEFAULT 0,
    lease_until_ms bigint NOT NULL DEFAULT 0,
    next_hop text NOT NULL DEFAULT '',
    last_reply text NOT NULL DEFAULT '',
    last_status text NOT NULL DEFAULT '',
    remote_host text NOT NULL DEFAULT '',
    tls text NOT NULL DEFAULT '',
    report_id text NOT NULL DEFAULT '',          -- queue_id of the DSN that tells of its failure
    PRIMARY KEY (queue_id, recipient)
) WITH (fillfactor = 80);
CREATE INDEX outgoing_copy_due ON delivery.outgoing_copy (due_ms) WHERE state = 'waiting';
CREATE INDEX outgoing_copy_leased ON delivery.outgoing_copy (lease_owner) WHERE lease_owner <> '';
CREATE INDEX outgoing_copy_open ON delivery.outgoing_copy (queue_id, recipient) WHERE state IN ('waiting', 'held');
CREATE INDEX outgoing_copy_finished ON delivery.outgoing_copy (due_ms) WHERE state IN ('sent', 'failed', 'cancelled');

CREATE SEQUENCE delivery.lease_token;

-- Events of the queue for the event log, and DSNs on their way to the bus.
CREATE TABLE delivery.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event bytea NOT NULL
);
CREATE TABLE delivery.report_outbox (
    queue_id text PRIMARY KEY,
    accepted bytea NOT NULL
);
COMMENT ON TABLE delivery.report_outbox IS 'mail.accepted of DSNs, written with the failure that they tell of.';

GRANT SELECT, INSERT, UPDATE, DELETE ON delivery.outgoing, delivery.outgoing_copy, delivery.outbox,
    delivery.report_outbox TO postbus_delivery;
GRANT UPDATE (accounted, detail) ON delivery.ledger TO postbus_delivery;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA delivery TO postbus_delivery;
