-- STORE with an operation key (RFC 7162 §3.1.3): a conditional STORE sees its own first run when it is repeated after a
-- lost answer, so it is done once and the repetition is told what came of it.

ALTER TABLE mailstore.operation ADD COLUMN modified int8multirange;  -- of a conditional STORE: uids left alone

-- store_flags_v1 with p_operation_key (NULL: none; twice is the same then). r_changed: whether r_mod_seq is this call's.
CREATE FUNCTION mailstore.store_flags_v2(
    p_mailbox_id uuid, p_folder_id integer, p_uids bigint[], p_mode text, p_flags smallint, p_keywords text[],
    p_unchanged_since bigint, p_max_keywords integer, p_now_ms bigint, p_operation_key text
) RETURNS TABLE (r_mod_seq bigint, r_modified bigint[], r_changed boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_operation mailstore.operation;
BEGIN
    IF p_operation_key IS NOT NULL THEN
        SELECT * INTO v_operation FROM mailstore.operation o
        WHERE o.mailbox_id = p_mailbox_id AND o.operation_key = p_operation_key;
        IF FOUND THEN
            IF v_operation.modified IS NULL THEN
                RAISE EXCEPTION 'the operation key belongs to something else' USING ERRCODE = 'PB409';
            END IF;
            r_mod_seq := v_operation.mod_seq;
            r_modified := ARRAY(
                SELECT u FROM unnest(v_operation.modified) AS r, generate_series(lower(r), upper(r) - 1) AS u ORDER BY u);
            r_changed := v_operation.uid = 1;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    SELECT s.r_mod_seq, s.r_modified INTO r_mod_seq, r_modified
    FROM mailstore.store_flags_v1(
        p_mailbox_id, p_folder_id, p_uids, p_mode, p_flags, p_keywords, p_unchanged_since, p_max_keywords, p_now_ms
    ) AS s;
    r_changed := r_mod_seq > v_box.mod_seq;
    IF p_operation_key IS NOT NULL THEN
        -- No message was allotted a uid: the column says whether flags changed.
        INSERT INTO mailstore.operation (
            mailbox_id, operation_key, at_ms, folder_id, uid_validity, uid, mod_seq, sources, modified)
        SELECT p_mailbox_id, p_operation_key, p_now_ms, p_folder_id, f.uid_validity, r_changed::integer, r_mod_seq,
               '{}'::int8multirange,
               coalesce((SELECT range_agg(int8range(u, u + 1)) FROM unnest(r_modified) AS u), '{}'::int8multirange)
        FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
    END IF;
    RETURN NEXT;
END $$;

REVOKE ALL ON FUNCTION mailstore.store_flags_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.store_flags_v2 TO postbus_imap_gateway;
