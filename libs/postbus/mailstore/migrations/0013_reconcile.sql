-- What the search index holds of a mailbox can be compared with what is there (after a failover or a restore).

CREATE FUNCTION mailstore.message_ids_v1(p_mailbox_id uuid) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0 AS $$
    SELECT string_agg(uuid_send(m.email_id), ''::bytea) FROM mailstore.message m WHERE m.mailbox_id = p_mailbox_id
$$;

-- Enqueues messages of one mailbox; rows that wait already stay as they are. Like every write it locks the mailbox row
-- first; no such mailbox: nothing to do.
CREATE FUNCTION mailstore.enqueue_v1(p_mailbox_id uuid, p_email_ids uuid[], p_now_ms bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM 1 FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id FOR NO KEY UPDATE;
    IF FOUND THEN
        INSERT INTO mailstore.index_pending (mailbox_id, email_id, enqueue, enqueued_ms, due_ms)
        SELECT p_mailbox_id, e, nextval('mailstore.index_enqueue'), p_now_ms, p_now_ms FROM unnest(p_email_ids) AS e
        ON CONFLICT (mailbox_id, email_id) DO NOTHING;
    END IF;
END $$;

REVOKE ALL ON FUNCTION mailstore.message_ids_v1, mailstore.enqueue_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.message_ids_v1, mailstore.enqueue_v1 TO postbus_indexer;
