-- STORE, EXPUNGE, COPY and MOVE: one function, one round trip, one mod_seq each.

-- Keywords after a STORE: compared in lower case, the first spelling kept, sorted; NULL for none.
CREATE FUNCTION mailstore.merge_keywords(p_old text[], p_new text[], p_mode text) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(k.spelled ORDER BY k.lowered)
    FROM (
        SELECT DISTINCT ON (s.lowered) s.lowered, s.spelled
        FROM (
            SELECT lower(o.spelled COLLATE "C") AS lowered, o.spelled, 0 AS rank, o.n
            FROM unnest(p_old) WITH ORDINALITY AS o(spelled, n)
            UNION ALL
            SELECT lower(g.spelled COLLATE "C"), g.spelled, 1, g.n
            FROM unnest(p_new) WITH ORDINALITY AS g(spelled, n)
        ) s
        ORDER BY s.lowered, s.rank, s.n
    ) k
    WHERE CASE p_mode
        WHEN 'replace' THEN k.lowered IN (SELECT lower(g COLLATE "C") FROM unnest(p_new) AS g)
        WHEN 'remove' THEN k.lowered NOT IN (SELECT lower(g COLLATE "C") FROM unnest(p_new) AS g)
        ELSE true END
$$;

CREATE FUNCTION mailstore.merge_flags(p_old smallint, p_new smallint, p_mode text) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_mode WHEN 'replace' THEN p_new WHEN 'add' THEN p_old | p_new ELSE p_old & ~p_new END
$$;

-- p_mode: replace, add, remove. r_modified: uids left alone because of p_unchanged_since (RFC 7162 §3.1.3).
CREATE FUNCTION mailstore.store_flags_v1(
    p_mailbox_id uuid, p_folder_id integer, p_uids bigint[], p_mode text, p_flags smallint, p_keywords text[],
    p_unchanged_since bigint, p_max_keywords integer, p_now_ms bigint
) RETURNS TABLE (r_mod_seq bigint, r_modified bigint[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
    v_same_keywords boolean := p_mode <> 'replace' AND cardinality(p_keywords) = 0;
    v_sum record;
BEGIN
    r_mod_seq := v_folder.highest_mod_seq;
    r_modified := '{}';
    IF p_unchanged_since IS NOT NULL THEN
        r_modified := ARRAY(
            SELECT e.uid FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids)
              AND e.mod_seq > p_unchanged_since
            ORDER BY e.uid);
    END IF;
    -- What will change, counted before it does: the mailbox row is locked. Joining the rows to themselves to get both
    -- would be at the mercy of the planner.
    SELECT count(*) AS n, range_agg(int8range(w.uid, w.uid + 1)) AS uids, max(cardinality(w.new_keywords)) AS keywords,
           coalesce(sum((w.new_flags & 1 = 0)::integer - (w.flags & 1 = 0)::integer), 0) AS unseen,
           coalesce(sum((w.new_flags & 8 <> 0)::integer - (w.flags & 8 <> 0)::integer), 0) AS deleted,
           bool_or(w.new_keywords IS DISTINCT FROM w.keywords) AS keywords_change
    INTO v_sum
    FROM (
        SELECT e.uid, e.flags, e.keywords, mailstore.merge_flags(e.flags, p_flags, p_mode) AS new_flags,
               CASE WHEN v_same_keywords OR (e.keywords IS NULL AND cardinality(p_keywords) = 0) THEN e.keywords
                    ELSE mailstore.merge_keywords(e.keywords, p_keywords, p_mode) END AS new_keywords
        FROM mailstore.entry e
        WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids)
          AND (p_unchanged_since IS NULL OR e.mod_seq <= p_unchanged_since)
        OFFSET 0
    ) w
    WHERE w.new_flags <> w.flags OR w.new_keywords IS DISTINCT FROM w.keywords;
    IF v_sum.keywords > p_max_keywords THEN
        RAISE EXCEPTION 'more than % keywords', p_max_keywords USING ERRCODE = 'PB429';
    END IF;
    IF v_sum.n > 0 THEN
        r_mod_seq := v_box.mod_seq + 1;
        IF v_sum.keywords_change THEN
            UPDATE mailstore.entry e
            SET flags = mailstore.merge_flags(e.flags, p_flags, p_mode), mod_seq = r_mod_seq,
                keywords = mailstore.merge_keywords(e.keywords, p_keywords, p_mode)
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids)
              AND e.uid <@ v_sum.uids;
        ELSE
            UPDATE mailstore.entry e
            SET flags = mailstore.merge_flags(e.flags, p_flags, p_mode), mod_seq = r_mod_seq
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids)
              AND e.uid <@ v_sum.uids;
        END IF;
        INSERT INTO mailstore.change (mailbox_id, folder_id, mod_seq, kind, at_ms, uids)
        VALUES (p_mailbox_id, p_folder_id, r_mod_seq, 2, p_now_ms, v_sum.uids);
        UPDATE mailstore.folder f
        SET highest_mod_seq = r_mod_seq, unseen = f.unseen + v_sum.unseen, deleted = f.deleted + v_sum.deleted
        WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
        UPDATE mailstore.mailbox m SET mod_seq = r_mod_seq WHERE m.mailbox_id = p_mailbox_id;
    END IF;
    RETURN NEXT;
END $$;

-- Removes the \Deleted entries of p_uids (NULL: of the folder). r_uids: see pack_ranges.
CREATE FUNCTION mailstore.expunge_v1(p_mailbox_id uuid, p_folder_id integer, p_uids bigint[], p_now_ms bigint)
RETURNS TABLE (r_uids bytea, r_mod_seq bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
    v_gone int8multirange := '{}';
BEGIN
    IF v_folder.deleted > 0 THEN
        v_gone := mailstore.remove_entries(
            p_mailbox_id, p_folder_id, p_uids, 8::smallint, true, v_box.mod_seq + 1, p_now_ms);
    END IF;
    r_uids := mailstore.pack_ranges(v_gone);
    r_mod_seq := CASE WHEN isempty(v_gone) THEN v_folder.highest_mod_seq ELSE v_box.mod_seq + 1 END;
    RETURN NEXT;
END $$;

-- The copies have consecutive uids from r_uid in ascending order of r_sources (see pack_ranges).
CREATE FUNCTION mailstore.copy_v1(
    p_mailbox_id uuid, p_source integer, p_uids bigint[], p_target integer, p_operation_key text, p_move boolean,
    p_quota bigint, p_now_ms bigint
) RETURNS TABLE (r_uid_validity bigint, r_uid bigint, r_mod_seq bigint, r_sources bytea)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_operation mailstore.operation;
    v_target mailstore.folder;
    v_sources int8multirange;
BEGIN
    SELECT * INTO v_operation FROM mailstore.operation o
    WHERE o.mailbox_id = p_mailbox_id AND o.operation_key = p_operation_key;
    IF FOUND THEN
        IF v_operation.sources IS NULL THEN
            RAISE EXCEPTION 'the operation key belongs to an append' USING ERRCODE = 'PB409';
        END IF;
        RETURN QUERY SELECT v_operation.uid_validity, v_operation.uid, v_operation.mod_seq,
                            mailstore.pack_ranges(v_operation.sources);
        RETURN;
    END IF;
    PERFORM mailstore.get_folder(p_mailbox_id, p_source);
    v_target := mailstore.get_folder(p_mailbox_id, p_target);
    v_sources := mailstore.transfer_entries(
        p_mailbox_id, p_source, v_target, p_uids, p_move, v_box.mod_seq + 1, p_now_ms);
    IF NOT p_move AND NOT isempty(v_sources)
       AND (SELECT m.octets FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id) > p_quota THEN
        RAISE EXCEPTION 'the copies exceed the quota' USING ERRCODE = 'PB411';
    END IF;
    r_uid_validity := v_target.uid_validity;
    r_uid := v_target.uid_next;
    r_mod_seq := CASE WHEN isempty(v_sources) THEN v_target.highest_mod_seq ELSE v_box.mod_seq + 1 END;
    r_sources := mailstore.pack_ranges(v_sources);
    INSERT INTO mailstore.operation (mailbox_id, operation_key, at_ms, folder_id, uid_validity, uid, mod_seq, sources)
    VALUES (p_mailbox_id, p_operation_key, p_now_ms, p_target, r_uid_validity, r_uid, r_mod_seq, v_sources);
    RETURN NEXT;
END $$;
