-- Mailboxes and folders.

-- A new folder with a number and a uid_validity that were never used before. The mailbox row is locked.
CREATE FUNCTION mailstore.add_folder(
    p_mailbox_id uuid, p_name text, p_use text, p_now_ms bigint, p_max_folders integer
) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_box mailstore.mailbox;
BEGIN
    IF (SELECT count(*) FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id) >= p_max_folders THEN
        RAISE EXCEPTION 'more than % folders', p_max_folders USING ERRCODE = 'PB429';
    END IF;
    UPDATE mailstore.mailbox m
    SET folder_next = m.folder_next + 1, uid_validity_last = greatest(p_now_ms / 1000, m.uid_validity_last + 1)
    WHERE m.mailbox_id = p_mailbox_id
    RETURNING * INTO v_box;
    INSERT INTO mailstore.folder (mailbox_id, folder_id, name, uid_validity, highest_mod_seq, special_use)
    VALUES (p_mailbox_id, v_box.folder_next - 1, p_name, v_box.uid_validity_last, v_box.mod_seq, p_use);
    RETURN v_box.folder_next - 1;
END $$;

-- Makes the missing folders above p_name.
CREATE FUNCTION mailstore.add_parents(p_mailbox_id uuid, p_name text, p_now_ms bigint, p_max_folders integer)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_levels text[] := string_to_array(p_name, '/');
    v_parent text;
BEGIN
    FOR v_depth IN 1 .. cardinality(v_levels) - 1 LOOP
        v_parent := array_to_string(v_levels[1:v_depth], '/');
        IF NOT EXISTS (SELECT FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.name = v_parent) THEN
            PERFORM mailstore.add_folder(p_mailbox_id, v_parent, NULL, p_now_ms, p_max_folders);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION mailstore.get_folder(p_mailbox_id uuid, p_folder_id integer) RETURNS mailstore.folder
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_folder mailstore.folder;
BEGIN
    SELECT * INTO v_folder FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'folder % is not there', p_folder_id USING ERRCODE = 'PB404';
    END IF;
    RETURN v_folder;
END $$;

-- Counts entries out of their messages; messages without any go, and the index learns of it. Rows are found by arrays
-- (x = ANY), never by joining sets: that stays an index look-up a row whatever the statistics say.
CREATE FUNCTION mailstore.release_messages(p_mailbox_id uuid, p_email_ids uuid[], p_now_ms bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_group record;
    v_dead uuid[];
    v_keys bigint[];
BEGIN
    FOR v_group IN
        SELECT g.n, array_agg(g.email_id) AS email_ids
        FROM (SELECT e AS email_id, count(*) AS n FROM unnest(p_email_ids) AS e GROUP BY e) g GROUP BY g.n
    LOOP
        WITH dead AS (
            DELETE FROM mailstore.message m
            WHERE m.mailbox_id = p_mailbox_id AND m.email_id = ANY (v_group.email_ids) AND m.entries <= v_group.n
            RETURNING m.email_id, m.thread_keys
        )
        SELECT array_agg(DISTINCT d.email_id), array_agg(k) INTO v_dead, v_keys
        FROM dead d LEFT JOIN LATERAL unnest(d.thread_keys) AS k ON true;
        IF cardinality(v_group.email_ids) > coalesce(cardinality(v_dead), 0) THEN
            UPDATE mailstore.message m SET entries = m.entries - v_group.n
            WHERE m.mailbox_id = p_mailbox_id AND m.email_id = ANY (v_group.email_ids) AND m.entries > v_group.n;
        END IF;
        CONTINUE WHEN v_dead IS NULL;
        DELETE FROM mailstore.envelope v WHERE v.mailbox_id = p_mailbox_id AND v.email_id = ANY (v_dead);
        PERFORM mailstore.release_thread_keys(p_mailbox_id, v_keys);
        INSERT INTO mailstore.index_pending AS p (mailbox_id, email_id, enqueue, enqueued_ms, due_ms)
        SELECT p_mailbox_id, d, nextval('mailstore.index_enqueue'), p_now_ms, p_now_ms FROM unnest(v_dead) AS d
        ON CONFLICT (mailbox_id, email_id) DO UPDATE
        SET enqueue = excluded.enqueue, enqueued_ms = excluded.enqueued_ms, due_ms = excluded.due_ms, attempt = 0;
    END LOOP;
END $$;

CREATE FUNCTION mailstore.release_thread_keys(p_mailbox_id uuid, p_keys bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_group record;
BEGIN
    FOR v_group IN
        SELECT g.n, array_agg(g.key_hash) AS keys
        FROM (SELECT k AS key_hash, count(*) AS n FROM unnest(p_keys) AS k WHERE k IS NOT NULL GROUP BY k) g
        GROUP BY g.n
    LOOP
        DELETE FROM mailstore.thread_key t
        WHERE t.mailbox_id = p_mailbox_id AND t.key_hash = ANY (v_group.keys) AND t.uses <= v_group.n;
        UPDATE mailstore.thread_key t SET uses = t.uses - v_group.n
        WHERE t.mailbox_id = p_mailbox_id AND t.key_hash = ANY (v_group.keys) AND t.uses > v_group.n;
    END LOOP;
END $$;

-- Copies (p_move: moves) entries; the mailbox row is locked, p_mod_seq is allotted. Answers the source uids.
CREATE FUNCTION mailstore.transfer_entries(
    p_mailbox_id uuid, p_source integer, p_target mailstore.folder, p_uids bigint[], p_move boolean, p_mod_seq bigint,
    p_now_ms bigint
) RETURNS int8multirange
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_sum record;
    v_group record;
    v_uids bigint[] := p_uids;
BEGIN
    IF p_source = p_target.folder_id THEN
        -- A uid that this very operation allots is not one of its sources.
        v_uids := ARRAY(SELECT u FROM unnest(p_uids) AS u WHERE u < p_target.uid_next);
    END IF;
    WITH copied AS (
        INSERT INTO mailstore.entry (mailbox_id, folder_id, uid, email_id, flags, keywords, mod_seq, save_date, octets,
                                     internal_date, sent_day)
        SELECT p_mailbox_id, p_target.folder_id, p_target.uid_next + row_number() OVER (ORDER BY e.uid) - 1, e.email_id,
               e.flags, e.keywords, p_mod_seq, p_now_ms, e.octets, e.internal_date, e.sent_day
        FROM mailstore.entry e
        WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_source AND e.uid = ANY (v_uids)
        RETURNING flags, octets, email_id
    )
    SELECT count(*) AS n, coalesce(sum(c.octets), 0)::bigint AS octets,
           count(*) FILTER (WHERE c.flags & 1 = 0) AS unseen, count(*) FILTER (WHERE c.flags & 8 <> 0) AS deleted, array_agg(c.email_id) AS email_ids
    INTO v_sum FROM copied c;
    IF v_sum.n = 0 THEN
        RETURN int8multirange();
    END IF;
    INSERT INTO mailstore.change (mailbox_id, folder_id, mod_seq, kind, at_ms, uids)
    VALUES (p_mailbox_id, p_target.folder_id, p_mod_seq, 1, p_now_ms,
            int8multirange(int8range(p_target.uid_next, p_target.uid_next + v_sum.n)));
    UPDATE mailstore.folder f
    SET uid_next = f.uid_next + v_sum.n, highest_mod_seq = p_mod_seq, messages = f.messages + v_sum.n,
        unseen = f.unseen + v_sum.unseen, deleted = f.deleted + v_sum.deleted, octets = f.octets + v_sum.octets
    WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_target.folder_id;
    UPDATE mailstore.mailbox m
    SET octets = m.octets + v_sum.octets, messages = m.messages + v_sum.n, mod_seq = p_mod_seq
    WHERE m.mailbox_id = p_mailbox_id;
    IF p_move THEN
        RETURN mailstore.remove_entries(p_mailbox_id, p_source, v_uids, 0::smallint, false, p_mod_seq, p_now_ms);
    END IF;
    FOR v_group IN
        SELECT g.n, array_agg(g.email_id) AS email_ids
        FROM (SELECT e AS email_id, count(*) AS n FROM unnest(v_sum.email_ids) AS e GROUP BY e) g GROUP BY g.n
    LOOP
        UPDATE mailstore.message m SET entries = m.entries + v_group.n
        WHERE m.mailbox_id = p_mailbox_id AND m.email_id = ANY (v_group.email_ids);
    END LOOP;
    RETURN (SELECT range_agg(int8range(e.uid, e.uid + 1)) FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_source AND e.uid = ANY (v_uids));
END $$;

-- Removes entries (p_uids NULL: all) that have all of p_flags; the mailbox row is locked, p_mod_seq is allotted.
-- p_release: counts them out of their messages (a move does not).
CREATE FUNCTION mailstore.remove_entries(
    p_mailbox_id uuid, p_folder_id integer, p_uids bigint[], p_flags smallint, p_release boolean, p_mod_seq bigint,
    p_now_ms bigint
) RETURNS int8multirange
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_sum record;
BEGIN
    IF p_uids IS NULL THEN
        WITH gone AS (
            DELETE FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.flags & p_flags = p_flags
            RETURNING e.uid, e.email_id, e.octets, e.flags
        )
        SELECT count(*) AS n, sum(g.octets)::bigint AS octets, count(*) FILTER (WHERE g.flags & 1 = 0) AS unseen,
               count(*) FILTER (WHERE g.flags & 8 <> 0) AS deleted, array_agg(g.email_id) AS email_ids,
               range_agg(int8range(g.uid, g.uid + 1)) AS uids
        INTO v_sum FROM gone g;
    ELSE
        WITH gone AS (
            DELETE FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids)
              AND e.flags & p_flags = p_flags
            RETURNING e.uid, e.email_id, e.octets, e.flags
        )
        SELECT count(*) AS n, sum(g.octets)::bigint AS octets, count(*) FILTER (WHERE g.flags & 1 = 0) AS unseen,
               count(*) FILTER (WHERE g.flags & 8 <> 0) AS deleted, array_agg(g.email_id) AS email_ids,
               range_agg(int8range(g.uid, g.uid + 1)) AS uids
        INTO v_sum FROM gone g;
    END IF;
    IF v_sum.n = 0 THEN
        RETURN int8multirange();
    END IF;
    INSERT INTO mailstore.change (mailbox_id, folder_id, mod_seq, kind, at_ms, uids)
    VALUES (p_mailbox_id, p_folder_id, p_mod_seq, 3, p_now_ms, v_sum.uids);
    UPDATE mailstore.folder f
    SET highest_mod_seq = p_mod_seq, messages = f.messages - v_sum.n, unseen = f.unseen - v_sum.unseen,
        deleted = f.deleted - v_sum.deleted, octets = f.octets - v_sum.octets
    WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
    UPDATE mailstore.mailbox m
    SET octets = m.octets - v_sum.octets, messages = m.messages - v_sum.n, mod_seq = p_mod_seq
    WHERE m.mailbox_id = p_mailbox_id;
    IF p_release THEN
        PERFORM mailstore.release_messages(p_mailbox_id, v_sum.email_ids, p_now_ms);
    END IF;
    RETURN v_sum.uids;
END $$;

-- The mailbox and its first folders; nothing when it is there already (a folder that its owner deleted stays away).
CREATE FUNCTION mailstore.ensure_mailbox_v1(p_mailbox_id uuid, p_uses text[], p_names text[], p_now_ms bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO mailstore.mailbox (mailbox_id) VALUES (p_mailbox_id) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        FOR v_n IN 1 .. cardinality(p_names) LOOP
            PERFORM mailstore.add_folder(p_mailbox_id, p_names[v_n], p_uses[v_n], p_now_ms, cardinality(p_names));
        END LOOP;
    END IF;
END $$;

CREATE FUNCTION mailstore.usage_v1(p_mailbox_ids uuid[]) RETURNS TABLE (r_mailbox_id uuid, r_octets bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT m.mailbox_id, m.octets FROM mailstore.mailbox m WHERE m.mailbox_id = ANY (p_mailbox_ids)
$$;

CREATE FUNCTION mailstore.list_folders_v1(p_mailbox_id uuid, p_folder_id integer) RETURNS TABLE (
    r_folder_id integer, r_name text, r_uid_validity bigint, r_uid_next bigint, r_highest_mod_seq bigint,
    r_special_use text, r_subscribed boolean, r_messages bigint, r_unseen bigint, r_deleted bigint, r_octets bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT f.folder_id, f.name, f.uid_validity, f.uid_next, f.highest_mod_seq, f.special_use, f.subscribed, f.messages,
           f.unseen, f.deleted, f.octets
    FROM mailstore.folder f
    WHERE f.mailbox_id = p_mailbox_id AND (p_folder_id IS NULL OR f.folder_id = p_folder_id)
    ORDER BY f.name <> 'INBOX', f.name
$$;

CREATE FUNCTION mailstore.create_folder_v1(p_mailbox_id uuid, p_name text, p_max_folders integer, p_now_ms bigint)
RETURNS TABLE (
    r_folder_id integer, r_name text, r_uid_validity bigint, r_uid_next bigint, r_highest_mod_seq bigint,
    r_special_use text, r_subscribed boolean, r_messages bigint, r_unseen bigint, r_deleted bigint, r_octets bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_folder_id integer;
BEGIN
    PERFORM mailstore.lock_mailbox(p_mailbox_id);
    IF EXISTS (SELECT FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.name = p_name) THEN
        RAISE EXCEPTION 'the folder exists' USING ERRCODE = 'PB410';
    END IF;
    PERFORM mailstore.add_parents(p_mailbox_id, p_name, p_now_ms, p_max_folders);
    v_folder_id := mailstore.add_folder(p_mailbox_id, p_name, NULL, p_now_ms, p_max_folders);
    RETURN QUERY SELECT * FROM mailstore.list_folders_v1(p_mailbox_id, v_folder_id);
END $$;

CREATE FUNCTION mailstore.delete_folder_v1(p_mailbox_id uuid, p_folder_id integer, p_now_ms bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
BEGIN
    IF v_folder.name = 'INBOX' OR EXISTS (
        SELECT FROM mailstore.folder f
        WHERE f.mailbox_id = p_mailbox_id AND starts_with(f.name, v_folder.name || '/')
    ) THEN
        RAISE EXCEPTION 'INBOX or a folder with folders below' USING ERRCODE = 'PB409';
    END IF;
    PERFORM mailstore.remove_entries(p_mailbox_id, p_folder_id, NULL, 0::smallint, true, v_box.mod_seq + 1, p_now_ms);
    DELETE FROM mailstore.change c WHERE c.mailbox_id = p_mailbox_id AND c.folder_id = p_folder_id;
    DELETE FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
END $$;

-- Renames a folder and all below it; INBOX stays and its messages move (RFC 9051 §6.3.6).
CREATE FUNCTION mailstore.rename_folder_v1(
    p_mailbox_id uuid, p_folder_id integer, p_name text, p_max_octets integer, p_max_levels integer,
    p_max_folders integer, p_now_ms bigint
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_box mailstore.mailbox := mailstore.lock_mailbox(p_mailbox_id);
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
    v_new integer;
BEGIN
    IF EXISTS (SELECT FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.name = p_name) THEN
        RAISE EXCEPTION 'the folder exists' USING ERRCODE = 'PB410';
    END IF;
    IF v_folder.name = 'INBOX' THEN
        PERFORM mailstore.add_parents(p_mailbox_id, p_name, p_now_ms, p_max_folders);
        v_new := mailstore.add_folder(p_mailbox_id, p_name, NULL, p_now_ms, p_max_folders);
        PERFORM mailstore.transfer_entries(
            p_mailbox_id, p_folder_id, mailstore.get_folder(p_mailbox_id, v_new),
            (SELECT array_agg(e.uid) FROM mailstore.entry e
             WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id),
            true, v_box.mod_seq + 1, p_now_ms);
        RETURN;
    END IF;
    IF starts_with(p_name, v_folder.name || '/') THEN
        RAISE EXCEPTION 'a folder can''t move below itself' USING ERRCODE = 'PB400';
    END IF;
    PERFORM mailstore.add_parents(p_mailbox_id, p_name, p_now_ms, p_max_folders);
    UPDATE mailstore.folder f SET name = p_name || substr(f.name, length(v_folder.name) + 1)
    WHERE f.mailbox_id = p_mailbox_id AND (f.folder_id = p_folder_id OR starts_with(f.name, v_folder.name || '/'));
    IF EXISTS (SELECT FROM mailstore.folder f
               WHERE f.mailbox_id = p_mailbox_id AND (octet_length(f.name) > p_max_octets
                 OR cardinality(string_to_array(f.name, '/')) > p_max_levels)) THEN
        RAISE EXCEPTION 'folder name: more than % octets or % levels', p_max_octets, p_max_levels
            USING ERRCODE = 'PB429';
    END IF;
END $$;

CREATE FUNCTION mailstore.set_subscribed_v1(p_mailbox_id uuid, p_folder_id integer, p_subscribed boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
BEGIN
    PERFORM mailstore.lock_mailbox(p_mailbox_id);
    PERFORM mailstore.get_folder(p_mailbox_id, p_folder_id);
    UPDATE mailstore.folder f SET subscribed = p_subscribed
    WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id AND f.subscribed <> p_subscribed;
END $$;
