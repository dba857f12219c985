-- The books of the ledger (architecture §1, promise 1): what makes its sum exact at any time and cheap to read.
--
-- A row's stream_sequence is a number of the book: the sequence that stream MAIL gave plus the offset of its volume. The
-- first volume's offset is 0. Where the stream was made anew or went back, the next volume begins behind all numbers so far:
-- nothing of the past is forgotten, and nothing new takes its place. Numbers are dense: each one up to the last has a row, or
-- is still on the bus, or is missing. A second message under a number that is taken (a clash) gets one of its own, from
-- 9000000000000000 on: it is accounted, found and retried like any other.

ALTER TABLE delivery.ledger
    DROP CONSTRAINT ledger_accounted_check,
    ADD CONSTRAINT ledger_accounted_check CHECK (accounted IN ('folder', 'queued', 'held', 'dsn', 'written_off')),
    ADD COLUMN stored_ns bigint NOT NULL DEFAULT 0,      -- when the stream took it; 0: not known (an older version)
    ADD COLUMN settlement bigint;                        -- written off as missing by this settlement
CREATE INDEX ledger_others ON delivery.ledger (accounted, stream_sequence) WHERE accounted <> 'folder';

CREATE TABLE delivery.ledger_volume (
    volume integer PRIMARY KEY,
    created_ms bigint NOT NULL,                          -- of the stream
    begins bigint NOT NULL,                              -- the first sequence of the stream that counts here
    since_ns bigint NOT NULL,                            -- what the stream took before belongs to earlier volumes
    number_offset bigint NOT NULL,
    last_sequence bigint NOT NULL,                       -- the highest that was seen
    last_stored_ns bigint NOT NULL,
    opened_ms bigint NOT NULL,
    alarm text NOT NULL,
    settlement bigint
);

CREATE TABLE delivery.ledger_book (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    verified_number bigint NOT NULL DEFAULT 0,           -- every number up to here is accounted
    trimmed_through bigint NOT NULL DEFAULT 0,           -- trims have passed here
    deletions bigint NOT NULL DEFAULT 0,                 -- how often rows were deleted or moved, but by trims
    vanished bigint NOT NULL DEFAULT 0,                  -- rows that somebody deleted where trims have passed
    settled_deleted bigint NOT NULL DEFAULT 0,           -- messages lost inside the stream that were settled
    keeper text NOT NULL DEFAULT '',
    keeper_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO delivery.ledger_book DEFAULT VALUES;

CREATE TABLE delivery.ledger_trimmed (
    part text NOT NULL CHECK (part IN ('dense', 'clash')),
    accounted text NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (part, accounted)
);
COMMENT ON TABLE delivery.ledger_trimmed IS 'What is left of rows that are older than the retention: their number.';

CREATE TABLE delivery.ledger_clash (
    clash_number bigint PRIMARY KEY,                     -- of the later message's row in the ledger
    stream_sequence bigint NOT NULL,                     -- the number that it should have had
    queue_id text NOT NULL,
    first_queue_id text NOT NULL,
    stored_ns bigint NOT NULL,
    seen_ms bigint NOT NULL,
    settlement bigint,
    UNIQUE (stream_sequence, queue_id, stored_ns)
);
CREATE INDEX ledger_clash_open ON delivery.ledger_clash (clash_number) WHERE settlement IS NULL;
CREATE SEQUENCE delivery.ledger_clash_number START 9000000000000000 MINVALUE 9000000000000000;

CREATE TABLE delivery.ledger_settlement (
    settlement bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor text NOT NULL,
    reason text NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT now(),
    missing bigint NOT NULL,
    clashes bigint NOT NULL,
    alarms text[] NOT NULL
);

-- The number of a sequence. A message that an older stream took stays in that stream's volume.
CREATE FUNCTION delivery.ledger_number(p_sequence bigint, p_stored_ns bigint) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = delivery, pg_temp
AS $$
    SELECT p_sequence + coalesce((
        SELECT v.number_offset FROM ledger_volume v
        WHERE v.begins <= p_sequence AND (p_stored_ns = 0 OR v.since_ns <= p_stored_ns)
        ORDER BY v.volume DESC LIMIT 1
    ), 0)
$$;

-- The sequence that a number stands for.
CREATE FUNCTION delivery.ledger_sequence(p_number bigint) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = delivery, pg_temp
AS $$
    SELECT p_number - coalesce((
        SELECT v.number_offset FROM ledger_volume v
        WHERE v.begins + v.number_offset <= p_number ORDER BY v.volume DESC LIMIT 1
    ), 0)
$$;

-- As record_v1, which older versions go on calling; a second message under a taken number gets a row of its own. Whoever
-- records holds the lock that opening a volume takes alone. Returns the places, in the arrays, of those that clash.
CREATE FUNCTION delivery.record_v2(
    p_sequences bigint[], p_queue_ids text[], p_outcomes text[], p_accepted_ms bigint[], p_details text[],
    p_places bytea[], p_traces text[], p_stored_ns bigint[]
) RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path = delivery, pg_temp
AS $$
DECLARE
    v_number bigint;
    v_trimmed bigint;
    v_clash record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('postbus.delivery.ledger', 0));
    SELECT trimmed_through INTO v_trimmed FROM ledger_book;
    INSERT INTO ledger
        (stream_sequence, queue_id, accounted, accepted_at, detail, placements, traceparent, stored_ns)
    SELECT ledger_number(g.sequence, g.stored_ns), g.queue_id, g.accounted, to_timestamp(g.accepted_ms / 1000.0),
        g.detail, g.placements, g.traceparent, g.stored_ns
    FROM unnest(p_sequences, p_queue_ids, p_outcomes, p_accepted_ms, p_details, p_places, p_traces, p_stored_ns)
        WITH ORDINALITY AS g(sequence, queue_id, accounted, accepted_ms, detail, placements, traceparent, stored_ns, place)
    WHERE ledger_number(g.sequence, g.stored_ns) > v_trimmed
    ORDER BY 1, g.place
    ON CONFLICT (stream_sequence) DO NOTHING;
    -- What was written off as missing and is found after all.
    UPDATE ledger l
    SET queue_id = g.queue_id, accounted = g.accounted, accepted_at = to_timestamp(g.accepted_ms / 1000.0),
        accounted_at = now(), detail = g.detail, placements = g.placements, traceparent = g.traceparent,
        stored_ns = g.stored_ns, settlement = NULL
    FROM unnest(p_sequences, p_queue_ids, p_outcomes, p_accepted_ms, p_details, p_places, p_traces, p_stored_ns)
        AS g(sequence, queue_id, accounted, accepted_ms, detail, placements, traceparent, stored_ns)
    WHERE l.stream_sequence = ledger_number(g.sequence, g.stored_ns) AND l.settlement IS NOT NULL
        AND l.queue_id IN ('', g.queue_id);
    FOR v_clash IN
        SELECT g.*, ledger_number(g.sequence, g.stored_ns) AS number, coalesce(l.queue_id, '') AS first_queue_id
        FROM unnest(p_sequences, p_queue_ids, p_outcomes, p_accepted_ms, p_details, p_places, p_traces, p_stored_ns)
            WITH ORDINALITY
            AS g(sequence, queue_id, accounted, accepted_ms, detail, placements, traceparent, stored_ns, place)
        LEFT JOIN ledger l ON l.stream_sequence = ledger_number(g.sequence, g.stored_ns)
        WHERE l.queue_id IS DISTINCT FROM g.queue_id
            OR (g.queue_id = '' AND l.stored_ns <> g.stored_ns AND 0 NOT IN (l.stored_ns, g.stored_ns))
        ORDER BY g.place
    LOOP
        INSERT INTO ledger_clash (clash_number, stream_sequence, queue_id, first_queue_id, stored_ns, seen_ms)
        VALUES (nextval('ledger_clash_number'), v_clash.number, v_clash.queue_id, v_clash.first_queue_id,
            v_clash.stored_ns, (extract(epoch FROM now()) * 1000)::bigint)
        ON CONFLICT (stream_sequence, queue_id, stored_ns) DO NOTHING
        RETURNING clash_number INTO v_number;
        IF FOUND THEN
            INSERT INTO ledger
                (stream_sequence, queue_id, accounted, accepted_at, detail, placements, traceparent, stored_ns)
            VALUES (v_number, v_clash.queue_id, v_clash.accounted, to_timestamp(v_clash.accepted_ms / 1000.0),
                v_clash.detail, v_clash.placements, v_clash.traceparent, v_clash.stored_ns);
        END IF;
        RETURN NEXT v_clash.place;
    END LOOP;
END $$;

-- Dead letters with their rows. A message that is accounted otherwise already is none. Returns as record_v2 does.
CREATE FUNCTION delivery.hold_v1(
    p_sequences bigint[], p_queue_ids text[], p_reasons text[], p_payloads bytea[], p_accepted_ms bigint[],
    p_places bytea[], p_traces text[], p_stored_ns bigint[]
) RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path = delivery, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT * FROM record_v2(
        p_sequences, p_queue_ids, array_fill('held'::text, ARRAY[cardinality(p_sequences)]), p_accepted_ms, p_reasons,
        p_places, p_traces, p_stored_ns);
    INSERT INTO dead_letter (stream_sequence, queue_id, reason, payload)
    SELECT l.stream_sequence, g.queue_id, g.reason, g.payload
    FROM unnest(p_sequences, p_queue_ids, p_reasons, p_payloads, p_stored_ns)
        AS g(sequence, queue_id, reason, payload, stored_ns)
    CROSS JOIN LATERAL (SELECT ledger_number(g.sequence, g.stored_ns) AS number) n
    LEFT JOIN ledger_clash c
        ON c.stream_sequence = n.number AND c.queue_id = g.queue_id AND c.stored_ns = g.stored_ns
    JOIN ledger l ON l.stream_sequence = coalesce(c.clash_number, n.number)
    WHERE l.queue_id = g.queue_id AND l.accounted = 'held'
    ON CONFLICT (stream_sequence) DO NOTHING;
END $$;

-- Opens the volume after p_expected, unless somebody else did; the first one with p_expected 0. What the new volume's
-- messages got recorded as before anybody knew of it moves to their own numbers.
CREATE FUNCTION delivery.open_volume_v1(
    p_expected integer, p_created_ms bigint, p_begins bigint, p_since_ns bigint, p_last_sequence bigint,
    p_last_stored_ns bigint, p_opened_ms bigint, p_alarm text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = delivery, pg_temp
AS $$
DECLARE
    c_clash constant bigint := 9000000000000000;
    v_now ledger_volume;
    v_offset bigint := 0;
    v_row record;
    v_sequence bigint;
    v_first bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('postbus.delivery.ledger', 0));
    SELECT * INTO v_now FROM ledger_volume ORDER BY volume DESC LIMIT 1;
    IF coalesce(v_now.volume, 0) <> p_expected THEN
        RETURN false;
    END IF;
    IF p_expected > 0 THEN
        -- By way of negative sequences: a number that one row leaves may be another's new one. A sequence that is taken
        -- leaves the other row where it is: it is accounted for there too.
        FOR v_row IN
            SELECT stream_sequence AS number, stream_sequence AS taken FROM ledger
            WHERE stream_sequence < c_clash AND stored_ns >= p_since_ns
            UNION ALL SELECT clash_number, stream_sequence FROM ledger_clash WHERE stored_ns >= p_since_ns
            ORDER BY number
        LOOP
            v_sequence := ledger_sequence(v_row.taken);
            CONTINUE WHEN v_sequence < p_begins
                OR EXISTS (SELECT FROM ledger l WHERE l.stream_sequence = -v_sequence);
            UPDATE ledger SET stream_sequence = -v_sequence WHERE stream_sequence = v_row.number;
            UPDATE dead_letter SET stream_sequence = -v_sequence WHERE stream_sequence = v_row.number;
            DELETE FROM ledger_clash WHERE clash_number = v_row.number;
            v_first := least(v_first, v_row.taken);
        END LOOP;
        SELECT greatest(v_now.number_offset + v_now.last_sequence, coalesce(max(stream_sequence), 0)) + 1 - p_begins
        INTO v_offset FROM ledger WHERE stream_sequence < c_clash;
        UPDATE ledger SET stream_sequence = v_offset - stream_sequence WHERE stream_sequence < 0;
        UPDATE dead_letter SET stream_sequence = v_offset - stream_sequence WHERE stream_sequence < 0;
        UPDATE ledger_book SET deletions = deletions + 1,
            verified_number = greatest(trimmed_through, least(verified_number, v_first - 1));
    END IF;
    INSERT INTO ledger_volume (volume, created_ms, begins, since_ns, number_offset, last_sequence, last_stored_ns,
        opened_ms, alarm)
    VALUES (p_expected + 1, p_created_ms, p_begins, p_since_ns, v_offset, p_last_sequence, p_last_stored_ns,
        p_opened_ms, p_alarm);
    RETURN true;
END $$;

-- Folds rows that are older than p_before into counts, p_limit numbers at a time; dead letters stay, and what the queue
-- still holds. False: nothing is left to do.
CREATE FUNCTION delivery.trim_ledger_v1(p_before timestamptz, p_limit integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = delivery, pg_temp
AS $$
DECLARE
    c_clash constant bigint := 9000000000000000;
    v_book ledger_book;
    v_through bigint;
    v_young bigint;
    v_gone bigint;
BEGIN
    SELECT * INTO v_book FROM ledger_book FOR UPDATE;
    v_through := greatest(v_book.trimmed_through, least(v_book.trimmed_through + p_limit, v_book.verified_number));
    SELECT min(stream_sequence) INTO v_young FROM ledger
    WHERE stream_sequence > v_book.trimmed_through AND stream_sequence <= v_through AND accounted_at >= p_before;
    v_through := coalesce(v_young - 1, v_through);
    PERFORM set_config('postbus.ledger_trim', 'on', true);
    WITH candidate AS (
        SELECT stream_sequence, queue_id, accounted, accounted_at FROM ledger WHERE stream_sequence <= v_through
        UNION ALL
        SELECT l.stream_sequence, l.queue_id, l.accounted, l.accounted_at
        FROM ledger_clash c JOIN ledger l ON l.stream_sequence = c.clash_number WHERE c.settlement IS NOT NULL
    ), old AS (
        SELECT l.stream_sequence FROM candidate l
        WHERE l.accounted_at < p_before AND l.accounted <> 'held'
            AND (l.accounted <> 'queued' OR NOT EXISTS (
                SELECT FROM outgoing_copy c WHERE c.queue_id = l.queue_id AND c.state IN ('waiting', 'held')))
    ), gone AS (
        DELETE FROM ledger l USING old WHERE l.stream_sequence = old.stream_sequence
        RETURNING l.stream_sequence, l.accounted
    ), closed AS (
        DELETE FROM ledger_clash c USING gone WHERE c.clash_number = gone.stream_sequence
    ), counted AS (
        INSERT INTO ledger_trimmed AS t (part, accounted, messages)
        SELECT CASE WHEN stream_sequence < c_clash THEN 'dense' ELSE 'clash' END, accounted, count(*)
        FROM gone GROUP BY 1, 2
        ON CONFLICT (part, accounted) DO UPDATE SET messages = t.messages + excluded.messages
    )
    SELECT count(*) INTO v_gone FROM gone;
    PERFORM set_config('postbus.ledger_trim', 'off', true);
    UPDATE ledger_book SET trimmed_through = v_through;
    RETURN v_gone > 0 OR v_through > v_book.trimmed_through;
END $$;

-- What somebody else deletes is missing from then on: the books look at it again.
CREATE FUNCTION delivery.note_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = delivery, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE ledger_book SET deletions = deletions + 1, verified_number = trimmed_through;
    ELSIF coalesce(current_setting('postbus.ledger_trim', true), '') <> 'on' THEN
        UPDATE ledger_book SET
            deletions = deletions + 1,
            verified_number = greatest(trimmed_through, least(verified_number, (SELECT min(stream_sequence) - 1 FROM gone))),
            vanished = vanished + (SELECT count(*) FROM gone WHERE stream_sequence <= trimmed_through);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_deleted AFTER DELETE ON delivery.ledger
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION delivery.note_deleted();
CREATE TRIGGER ledger_truncated AFTER TRUNCATE ON delivery.ledger
    FOR EACH STATEMENT EXECUTE FUNCTION delivery.note_deleted();

REVOKE ALL ON FUNCTION delivery.ledger_number, delivery.ledger_sequence, delivery.record_v2, delivery.hold_v1,
    delivery.open_volume_v1, delivery.trim_ledger_v1, delivery.note_deleted FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delivery.ledger_number, delivery.ledger_sequence, delivery.record_v2, delivery.hold_v1,
    delivery.open_volume_v1, delivery.trim_ledger_v1 TO postbus_delivery;
GRANT UPDATE ON delivery.ledger, delivery.dead_letter TO postbus_delivery;
GRANT DELETE ON delivery.dead_letter TO postbus_delivery;
GRANT SELECT, INSERT, UPDATE ON delivery.ledger_trimmed TO postbus_delivery;
GRANT SELECT, UPDATE ON delivery.ledger_book, delivery.ledger_volume TO postbus_delivery;
GRANT SELECT, INSERT, UPDATE ON delivery.ledger_clash TO postbus_delivery;
GRANT SELECT, INSERT, UPDATE (missing, clashes) ON delivery.ledger_settlement TO postbus_delivery;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA delivery TO postbus_delivery;
