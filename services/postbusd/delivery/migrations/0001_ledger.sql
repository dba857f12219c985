-- The ledger (architecture §1, promise 1) and the dead letters.

CREATE TABLE delivery.ledger (
    stream_sequence bigint PRIMARY KEY,
    queue_id text NOT NULL,
    accounted text NOT NULL CHECK (accounted IN ('folder', 'queued', 'held', 'dsn')),
    accepted_at timestamptz NOT NULL,
    accounted_at timestamptz NOT NULL DEFAULT now(),
    detail text NOT NULL DEFAULT '',
    placements bytea NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT ''
);

CREATE INDEX ledger_queue_id ON delivery.ledger (queue_id);

CREATE TABLE delivery.dead_letter (
    stream_sequence bigint PRIMARY KEY,
    queue_id text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    held_at timestamptz NOT NULL DEFAULT now()
);

-- One round trip for a batch. Returns the sequences that stand in the ledger with another queue_id.
CREATE FUNCTION delivery.record_v1(
    sequences bigint[], queue_ids text[], outcomes text[], accepted_ms bigint[], details text[],
    places bytea[], traces text[]
) RETURNS SETOF bigint
LANGUAGE sql
SET search_path = delivery, pg_temp
AS $$
    WITH given AS (
        SELECT * FROM unnest(sequences, queue_ids, outcomes, accepted_ms, details, places, traces)
            AS g(stream_sequence, queue_id, accounted, accepted_ms, detail, placements, traceparent)
    ), noted AS (
        INSERT INTO delivery.ledger
            (stream_sequence, queue_id, accounted, accepted_at, detail, placements, traceparent)
        SELECT stream_sequence, queue_id, accounted, to_timestamp(accepted_ms / 1000.0), detail, placements, traceparent
        FROM given
        ON CONFLICT (stream_sequence) DO NOTHING
    )
    SELECT g.stream_sequence FROM given g
    JOIN delivery.ledger l ON l.stream_sequence = g.stream_sequence AND l.queue_id <> g.queue_id
$$;

GRANT SELECT, INSERT ON delivery.ledger, delivery.dead_letter TO postbus_delivery;
GRANT EXECUTE ON FUNCTION delivery.record_v1 TO postbus_delivery;
