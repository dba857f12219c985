-- index_pending, outbox and the trimming of history. Nothing here waits while it holds a lock that a mail transaction
-- could want: rows that are locked elsewhere are skipped.

CREATE FUNCTION mailstore.pending_v1(p_limit integer, p_now_ms bigint) RETURNS TABLE (
    r_mailbox_id text, r_pending_id text, r_enqueued_ms bigint, r_attempt integer, r_enqueue bigint,
    r_email_id text, r_blob_id text, r_prefix bytea, r_octets bigint, r_internal_date bigint, r_structure bytea,
    r_thread_id text, r_preview text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT p.mailbox_id::text, p.email_id::text, p.enqueued_ms, p.attempt, p.enqueue,
           m.email_id::text, m.blob_id, m.prefix, m.octets, m.internal_date, m.structure, m.thread_id::text, m.preview
    FROM (
        SELECT * FROM mailstore.index_pending q WHERE q.due_ms <= p_now_ms ORDER BY q.due_ms, q.enqueue LIMIT p_limit
    ) p
    LEFT JOIN LATERAL (
        SELECT * FROM mailstore.message m WHERE m.mailbox_id = p.mailbox_id AND m.email_id = p.email_id OFFSET 0
    ) m ON true
    ORDER BY p.due_ms, p.enqueue
$$;

CREATE FUNCTION mailstore.pending_of_v1(p_mailbox_ids uuid[], p_limit integer) RETURNS TABLE (
    r_mailbox_id text, r_pending_id text, r_enqueued_ms bigint, r_attempt integer, r_enqueue bigint,
    r_email_id text, r_blob_id text, r_prefix bytea, r_octets bigint, r_internal_date bigint, r_structure bytea,
    r_thread_id text, r_preview text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT p.mailbox_id::text, p.email_id::text, p.enqueued_ms, p.attempt, p.enqueue,
           m.email_id::text, m.blob_id, m.prefix, m.octets, m.internal_date, m.structure, m.thread_id::text, m.preview
    FROM (
        SELECT * FROM mailstore.index_pending q WHERE q.mailbox_id = ANY (p_mailbox_ids)
        ORDER BY q.enqueue LIMIT p_limit
    ) p
    LEFT JOIN LATERAL (
        SELECT * FROM mailstore.message m WHERE m.mailbox_id = p.mailbox_id AND m.email_id = p.email_id OFFSET 0
    ) m ON true
    ORDER BY p.enqueue
$$;

-- Deletes the rows that were not enqueued anew; one that is locked is being enqueued anew just now.
CREATE FUNCTION mailstore.indexed_v1(p_mailbox_ids uuid[], p_email_ids uuid[], p_enqueues bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    DELETE FROM mailstore.index_pending p
    WHERE p.ctid = ANY (ARRAY(
        SELECT d.ctid
        FROM unnest(p_mailbox_ids, p_email_ids, p_enqueues) AS u(mailbox_id, email_id, enqueue)
        CROSS JOIN LATERAL (
            SELECT q.ctid FROM mailstore.index_pending q
            WHERE q.mailbox_id = u.mailbox_id AND q.email_id = u.email_id AND q.enqueue = u.enqueue
            FOR UPDATE SKIP LOCKED
        ) d))
$$;

CREATE FUNCTION mailstore.index_failed_v1(
    p_mailbox_id uuid, p_email_id uuid, p_enqueue bigint, p_reason text, p_due_ms bigint
) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    UPDATE mailstore.index_pending p SET attempt = p.attempt + 1, reason = p_reason, due_ms = p_due_ms
    WHERE p.mailbox_id = p_mailbox_id AND p.email_id = p_email_id AND p.enqueue = p_enqueue
$$;

-- Claims rows for the running transaction, which publishes them and then calls delete_outbox_v1.
CREATE FUNCTION mailstore.claim_outbox_v1(p_limit integer) RETURNS TABLE (r_outbox_id bigint, r_event bytea)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT o.outbox_id, o.event FROM mailstore.outbox o ORDER BY o.outbox_id LIMIT p_limit FOR UPDATE SKIP LOCKED
$$;

CREATE FUNCTION mailstore.delete_outbox_v1(p_outbox_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    DELETE FROM mailstore.outbox o WHERE o.outbox_id = ANY (p_outbox_ids)
$$;

-- Forgets operation keys and change rows older than p_before_ms; the last mailbox handled, NULL at the end.
CREATE FUNCTION mailstore.trim_history_v1(p_before_ms bigint, p_after uuid, p_limit integer) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_last uuid;
    v_mailbox_id uuid;
BEGIN
    FOR v_last IN
        SELECT m.mailbox_id FROM mailstore.mailbox m
        WHERE m.mailbox_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
        ORDER BY m.mailbox_id LIMIT p_limit
    LOOP
        SELECT m.mailbox_id INTO v_mailbox_id FROM mailstore.mailbox m WHERE m.mailbox_id = v_last
        FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        DELETE FROM mailstore.operation o WHERE o.mailbox_id = v_last AND o.at_ms < p_before_ms;
        WITH gone AS (
            DELETE FROM mailstore.change c WHERE c.mailbox_id = v_last AND c.at_ms < p_before_ms
            RETURNING c.folder_id, c.mod_seq
        )
        UPDATE mailstore.folder f SET change_floor = greatest(f.change_floor, g.mod_seq)
        FROM (SELECT folder_id, max(mod_seq) AS mod_seq FROM gone GROUP BY folder_id) g
        WHERE f.mailbox_id = v_last AND f.folder_id = g.folder_id;
    END LOOP;
    RETURN v_last;
END $$;
