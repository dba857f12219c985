-- Whose trace a row of index_pending belongs to (promise 8): '' for none, and what is enqueued anew keeps what it had.

ALTER TABLE mailstore.index_pending ADD COLUMN traceparent text NOT NULL DEFAULT '';

-- append_v1, and W3C trace contexts for the rows of index_pending of what it stores ('' for none).
CREATE FUNCTION mailstore.append_v2(
    p_now_ms bigint,
    p_mailbox_id uuid[], p_operation_key text[], p_use text[], p_folder_id integer[], p_name text[],
    p_fallback boolean[], p_quota bigint[], p_flags smallint[], p_keywords text[],
    p_email_id uuid[], p_blob_id text[], p_prefix bytea[], p_octets bigint[], p_internal_date bigint[],
    p_sent_day integer[], p_structure bytea[], p_envelope bytea[], p_preview text[],
    p_id_keys bigint[], p_id_counts integer[], p_subject_key bigint[], p_by_subject boolean[],
    p_event_positions integer[], p_events bytea[], p_traceparent text[]
) RETURNS TABLE (
    r_position integer, r_outcome text, r_folder_id integer, r_uid_validity bigint, r_uid bigint, r_mod_seq bigint,
    r_folder_name text
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_stored integer[] := '{}';
BEGIN
    FOR r_position, r_outcome, r_folder_id, r_uid_validity, r_uid, r_mod_seq, r_folder_name IN
        SELECT * FROM mailstore.append_v1(
            p_now_ms, p_mailbox_id, p_operation_key, p_use, p_folder_id, p_name, p_fallback, p_quota, p_flags,
            p_keywords, p_email_id, p_blob_id, p_prefix, p_octets, p_internal_date, p_sent_day, p_structure, p_envelope,
            p_preview, p_id_keys, p_id_counts, p_subject_key, p_by_subject, p_event_positions, p_events)
    LOOP
        IF r_outcome = 'stored' THEN
            v_stored := v_stored || r_position;
        END IF;
        RETURN NEXT;
    END LOOP;
    UPDATE mailstore.index_pending p SET traceparent = p_traceparent[n]
    FROM unnest(v_stored) AS n
    WHERE p.mailbox_id = p_mailbox_id[n] AND p.email_id = p_email_id[n];
END $$;

-- pending_v1 and pending_of_v1 with r_traceparent.
CREATE FUNCTION mailstore.pending_v2(p_limit integer, p_now_ms bigint) RETURNS TABLE (
    r_mailbox_id text, r_pending_id text, r_enqueued_ms bigint, r_attempt integer, r_enqueue bigint,
    r_email_id text, r_blob_id text, r_prefix bytea, r_octets bigint, r_internal_date bigint, r_structure bytea,
    r_thread_id text, r_preview text, r_traceparent text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT p.mailbox_id::text, p.email_id::text, p.enqueued_ms, p.attempt, p.enqueue,
           m.email_id::text, m.blob_id, m.prefix, m.octets, m.internal_date, m.structure, m.thread_id::text, m.preview,
           p.traceparent
    FROM (
        SELECT * FROM mailstore.index_pending q WHERE q.due_ms <= p_now_ms ORDER BY q.due_ms, q.enqueue LIMIT p_limit
    ) p
    LEFT JOIN LATERAL (
        SELECT * FROM mailstore.message m WHERE m.mailbox_id = p.mailbox_id AND m.email_id = p.email_id OFFSET 0
    ) m ON true
    ORDER BY p.due_ms, p.enqueue
$$;

CREATE FUNCTION mailstore.pending_of_v2(p_mailbox_ids uuid[], p_limit integer) RETURNS TABLE (
    r_mailbox_id text, r_pending_id text, r_enqueued_ms bigint, r_attempt integer, r_enqueue bigint,
    r_email_id text, r_blob_id text, r_prefix bytea, r_octets bigint, r_internal_date bigint, r_structure bytea,
    r_thread_id text, r_preview text, r_traceparent text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT p.mailbox_id::text, p.email_id::text, p.enqueued_ms, p.attempt, p.enqueue,
           m.email_id::text, m.blob_id, m.prefix, m.octets, m.internal_date, m.structure, m.thread_id::text, m.preview,
           p.traceparent
    FROM (
        SELECT * FROM mailstore.index_pending q WHERE q.mailbox_id = ANY (p_mailbox_ids)
        ORDER BY q.enqueue LIMIT p_limit
    ) p
    LEFT JOIN LATERAL (
        SELECT * FROM mailstore.message m WHERE m.mailbox_id = p.mailbox_id AND m.email_id = p.email_id OFFSET 0
    ) m ON true
    ORDER BY p.enqueue
$$;

REVOKE ALL ON FUNCTION mailstore.append_v2, mailstore.pending_v2, mailstore.pending_of_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.append_v2 TO postbus_delivery, postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.pending_v2 TO postbus_indexer;
GRANT EXECUTE ON FUNCTION mailstore.pending_of_v2 TO postbus_indexer, postbus_imap_gateway;
