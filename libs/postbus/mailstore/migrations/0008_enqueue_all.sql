-- The index is derived data (architecture §1, promise 6): every message can be enqueued again, piece by piece.

-- Enqueues up to p_limit messages above (p_after_mailbox_id, p_after_email_id), both NULL at the start; rows that wait
-- already stay as they are. The last message looked at, no row at the end. Like every write it locks mailbox rows first,
-- in ascending order, so that it never deadlocks with an expunge that enqueues the same messages; a piece is short.
CREATE FUNCTION mailstore.enqueue_all_v1(
    p_after_mailbox_id uuid, p_after_email_id uuid, p_limit integer, p_now_ms bigint
) RETURNS TABLE (r_mailbox_id text, r_email_id text, r_messages integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    v_mailbox_id uuid := coalesce(p_after_mailbox_id, v_nil);
    v_email_id uuid := coalesce(p_after_email_id, v_nil);
    v_last uuid;
    v_count integer;
BEGIN
    r_messages := 0;
    WHILE r_messages < p_limit LOOP
        SELECT m.mailbox_id INTO v_last FROM mailstore.message m
        WHERE (m.mailbox_id, m.email_id) > (v_mailbox_id, v_email_id)
        ORDER BY m.mailbox_id, m.email_id LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF v_last <> v_mailbox_id THEN
            v_mailbox_id := v_last;
            v_email_id := v_nil;
        END IF;
        PERFORM 1 FROM mailstore.mailbox m WHERE m.mailbox_id = v_mailbox_id FOR NO KEY UPDATE;
        WITH piece AS (
            SELECT m.email_id FROM mailstore.message m
            WHERE m.mailbox_id = v_mailbox_id AND m.email_id > v_email_id
            ORDER BY m.email_id LIMIT p_limit - r_messages
        ), added AS (
            INSERT INTO mailstore.index_pending (mailbox_id, email_id, enqueue, enqueued_ms, due_ms)
            SELECT v_mailbox_id, piece.email_id, nextval('mailstore.index_enqueue'), p_now_ms, p_now_ms FROM piece
            ON CONFLICT (mailbox_id, email_id) DO NOTHING
        )
        SELECT count(*), (array_agg(piece.email_id ORDER BY piece.email_id DESC))[1] INTO v_count, v_last FROM piece;
        -- None: they were expunged before the lock was had.
        CONTINUE WHEN v_count = 0;
        v_email_id := v_last;
        r_messages := r_messages + v_count;
    END LOOP;
    IF r_messages > 0 THEN
        r_mailbox_id := v_mailbox_id::text;
        r_email_id := v_email_id::text;
        RETURN NEXT;
    END IF;
END $$;

REVOKE ALL ON FUNCTION mailstore.enqueue_all_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.enqueue_all_v1 TO postbus_indexer;
