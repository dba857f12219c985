-- Epochs (architecture §4): a server may come back without the last things that it told: the standby of a failover, a
-- copy put back, a dump loaded elsewhere. Then every uid_next and mod_seq is lifted above all that could have been
-- announced, and the uids in between become tombstones, before any session is served; uid_validity stays.

CREATE TABLE mailstore.epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch integer NOT NULL,
    restored integer NOT NULL DEFAULT 0,        -- the last epoch that began with a restore; 0: none
    restored_ms bigint NOT NULL DEFAULT 0,
    timeline text,                              -- of the server, as in the names of its WAL files; NULL: not told
    system_id text,                             -- of the cluster; NULL: not told
    table_id oid NOT NULL,                      -- this table's own: a dump that is loaded makes another one
    seen_ms bigint NOT NULL,                    -- this database was in use then, to ten minutes
    span bigint NOT NULL DEFAULT 0,             -- how far is lifted
    lifted_upto uuid                            -- the lift has come to this mailbox; NULL: nothing is left to lift
) WITH (fillfactor = 50);

CREATE TABLE mailstore.epoch_history (
    epoch integer PRIMARY KEY,
    began_ms bigint NOT NULL,
    ended_ms bigint,                            -- NULL: under way, or begun anew by the next epoch
    reason text NOT NULL CHECK (reason IN ('first', 'failover', 'moved', 'restore')),
    timeline text,
    system_id text,
    restore_id text NOT NULL,                   -- an id lifts once, however many processes still have an older one
    span bigint NOT NULL DEFAULT 0,
    mailboxes bigint NOT NULL DEFAULT 0,
    folders bigint NOT NULL DEFAULT 0,
    renewed bigint NOT NULL DEFAULT 0           -- folders without so many uids left: a new uid_validity
);

-- Entries of a folder count as changed at least here: what a client saw of them after the copy was made may be undone.
-- That is one number a folder instead of a write to every entry.
ALTER TABLE mailstore.folder ADD COLUMN lift_mod_seq bigint NOT NULL DEFAULT 0;

-- What tells this server from others; what a server does not tell, or not to us, is NULL and never differs.
CREATE FUNCTION mailstore.server_facts(OUT timeline text, OUT system_id text, OUT table_id oid)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this server is a standby' USING ERRCODE = '25006';
    END IF;
    BEGIN
        timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    EXCEPTION WHEN undefined_function OR insufficient_privilege OR feature_not_supported
                OR object_not_in_prerequisite_state THEN
        timeline := NULL;
    END;
    BEGIN
        system_id := (SELECT s.system_identifier::text FROM pg_control_system() AS s);
    EXCEPTION WHEN undefined_function OR insufficient_privilege OR feature_not_supported
                OR object_not_in_prerequisite_state THEN
        system_id := NULL;
    END;
    table_id := 'mailstore.epoch'::regclass::oid;
END $$;

-- Why a new epoch begins; NULL: it is the same still.
CREATE FUNCTION mailstore.epoch_reason(
    p_row mailstore.epoch, p_timeline text, p_system_id text, p_table_id oid, p_restore_id text
) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN p_restore_id <> ''
             AND NOT EXISTS (SELECT FROM mailstore.epoch_history h WHERE h.restore_id = p_restore_id) THEN 'restore'
        WHEN p_table_id <> p_row.table_id OR p_system_id <> p_row.system_id THEN 'moved'
        WHEN p_timeline <> p_row.timeline THEN 'failover'
    END
$$;

-- How far to lift. A failover: 1,000,000 for each timeline that lies between. A copy of unknown age that was put back
-- may have been lifted before, in the time that is lost, or be put back for the second time: so its age counts too,
-- 12 a second, about a million a day.
CREATE FUNCTION mailstore.epoch_span(p_row mailstore.epoch, p_reason text, p_timeline text, p_now_ms bigint)
RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(500000000, CASE
        WHEN p_reason <> 'failover' THEN 1000000 + 12 * greatest(0, (p_now_ms - p_row.seen_ms) / 1000)
        WHEN p_timeline ~ '^[0-9A-F]{8}$' AND p_row.timeline ~ '^[0-9A-F]{8}$'
            THEN 1000000 * greatest(1, ('x' || p_timeline)::bit(32)::bigint - ('x' || p_row.timeline)::bit(32)::bigint)
        ELSE 1000000 END)
$$;

-- A folder that has not so many uids left: its messages are numbered anew under a new uid_validity (RFC 9051 §2.3.1.1).
CREATE FUNCTION mailstore.renew_folder(p_mailbox_id uuid, p_folder_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off AS $$
DECLARE
    v_box mailstore.mailbox;
    v_count bigint;
BEGIN
    UPDATE mailstore.mailbox m SET uid_validity_last = m.uid_validity_last + 1
    WHERE m.mailbox_id = p_mailbox_id RETURNING * INTO v_box;
    -- By way of negative uids: no two of them are the same at any moment.
    UPDATE mailstore.entry e SET uid = -e.uid WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id;
    UPDATE mailstore.entry e SET uid = o.n
    FROM (SELECT x.uid, row_number() OVER (ORDER BY x.uid DESC) AS n FROM mailstore.entry x
          WHERE x.mailbox_id = p_mailbox_id AND x.folder_id = p_folder_id) o
    WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = o.uid;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    DELETE FROM mailstore.change c WHERE c.mailbox_id = p_mailbox_id AND c.folder_id = p_folder_id;
    UPDATE mailstore.folder f
    SET uid_validity = v_box.uid_validity_last, uid_next = v_count + 1, highest_mod_seq = v_box.mod_seq,
        lift_mod_seq = v_box.mod_seq, change_floor = v_box.mod_seq
    WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
END $$;

-- Lifts up to p_limit mailboxes above p_after, in ascending order as all that lock several; next_after is NULL at the
-- end. Numbers of folders that were made in the lost time are not used again either.
CREATE FUNCTION mailstore.lift_piece(
    p_after uuid, p_span bigint, p_limit integer, p_now_ms bigint,
    OUT next_after uuid, OUT mailboxes integer, OUT folders integer, OUT renewed integer
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_ids uuid[];
    v_folder record;
BEGIN
    v_ids := ARRAY(
        SELECT m.mailbox_id FROM mailstore.mailbox m WHERE m.mailbox_id > p_after ORDER BY m.mailbox_id LIMIT p_limit
        FOR NO KEY UPDATE);
    mailboxes := cardinality(v_ids);
    next_after := CASE WHEN mailboxes = p_limit THEN v_ids[mailboxes] END;
    renewed := 0;
    UPDATE mailstore.mailbox m
    SET mod_seq = m.mod_seq + p_span, all_uid_next = m.all_uid_next + p_span, folder_next = m.folder_next + 100000,
        uid_validity_last = greatest(m.uid_validity_last, p_now_ms / 1000) + 100000
    WHERE m.mailbox_id = ANY (v_ids);
    WITH lifted AS (
        UPDATE mailstore.folder f
        SET uid_next = f.uid_next + p_span, highest_mod_seq = m.mod_seq, lift_mod_seq = m.mod_seq
        FROM mailstore.mailbox m
        WHERE f.mailbox_id = ANY (v_ids) AND m.mailbox_id = f.mailbox_id AND f.uid_next + p_span <= 4294967295
        RETURNING f.mailbox_id, f.folder_id, f.highest_mod_seq, f.uid_next
    )
    INSERT INTO mailstore.change (mailbox_id, folder_id, mod_seq, kind, at_ms, uids)
    SELECT l.mailbox_id, l.folder_id, l.highest_mod_seq, 3, p_now_ms,
           int8multirange(int8range(l.uid_next - p_span, l.uid_next))
    FROM lifted l;
    GET DIAGNOSTICS folders = ROW_COUNT;
    FOR v_folder IN
        SELECT f.mailbox_id, f.folder_id FROM mailstore.folder f
        JOIN mailstore.mailbox m ON m.mailbox_id = f.mailbox_id
        WHERE f.mailbox_id = ANY (v_ids) AND f.lift_mod_seq <> m.mod_seq
    LOOP
        PERFORM mailstore.renew_folder(v_folder.mailbox_id, v_folder.folder_id);
        renewed := renewed + 1;
    END LOOP;
END $$;

-- Called on every new connection before it serves anybody, again and again while r_lifting: each call lifts one piece
-- and commits it, so that no deadline ends a lift; several callers take turns. r_began, r_ended: by this very call.
-- A standby is refused, whatever it would tell.
CREATE FUNCTION mailstore.ensure_epoch_v1(p_restore_id text, p_now_ms bigint, p_limit integer) RETURNS TABLE (
    r_epoch integer, r_restored integer, r_restored_ms bigint, r_lifting boolean, r_began boolean, r_ended boolean,
    r_reason text, r_span bigint, r_mailboxes bigint, r_folders bigint, r_renewed bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    v_here record := mailstore.server_facts();
    v_row mailstore.epoch;
    v_reason text;
    v_piece record;
BEGIN
    r_began := false;
    r_ended := false;
    SELECT * INTO v_row FROM mailstore.epoch;
    IF NOT FOUND THEN
        INSERT INTO mailstore.epoch (epoch, timeline, system_id, table_id, seen_ms)
        VALUES (1, v_here.timeline, v_here.system_id, v_here.table_id, p_now_ms) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            -- Mailboxes that are there before the first epoch and a restore id: a copy of an older version's database.
            INSERT INTO mailstore.epoch_history (epoch, began_ms, ended_ms, reason, timeline, system_id, restore_id)
            VALUES (1, p_now_ms, p_now_ms, 'first', v_here.timeline, v_here.system_id,
                    CASE WHEN EXISTS (SELECT FROM mailstore.mailbox) THEN '' ELSE p_restore_id END);
        END IF;
        SELECT * INTO v_row FROM mailstore.epoch;
    END IF;
    v_reason := mailstore.epoch_reason(v_row, v_here.timeline, v_here.system_id, v_here.table_id, p_restore_id);
    IF v_reason IS NOT NULL OR v_row.lifted_upto IS NOT NULL THEN
        SELECT * INTO v_row FROM mailstore.epoch FOR UPDATE;
        v_reason := mailstore.epoch_reason(v_row, v_here.timeline, v_here.system_id, v_here.table_id, p_restore_id);
        IF v_reason IS NOT NULL THEN
            r_began := true;
            v_row.span := mailstore.epoch_span(v_row, v_reason, v_here.timeline, p_now_ms);
            v_row.epoch := v_row.epoch + 1;
            v_row.lifted_upto := v_nil;
            IF v_reason <> 'failover' THEN
                v_row.restored := v_row.epoch;
                v_row.restored_ms := p_now_ms;
            END IF;
            INSERT INTO mailstore.epoch_history (epoch, began_ms, reason, timeline, system_id, restore_id, span)
            VALUES (v_row.epoch, p_now_ms, v_reason, v_here.timeline, v_here.system_id, p_restore_id, v_row.span);
            -- A batch that is being indexed must not take a row that is enqueued from now on for its own.
            PERFORM setval('mailstore.index_enqueue', nextval('mailstore.index_enqueue') + 1000000);
        ELSIF v_row.lifted_upto IS NOT NULL THEN
            v_piece := mailstore.lift_piece(v_row.lifted_upto, v_row.span, p_limit, p_now_ms);
            v_row.lifted_upto := v_piece.next_after;
            r_ended := v_row.lifted_upto IS NULL;
            UPDATE mailstore.epoch_history h
            SET mailboxes = h.mailboxes + v_piece.mailboxes, folders = h.folders + v_piece.folders,
                renewed = h.renewed + v_piece.renewed, ended_ms = CASE WHEN r_ended THEN p_now_ms END
            WHERE h.epoch = v_row.epoch;
        END IF;
        UPDATE mailstore.epoch e
        SET epoch = v_row.epoch, restored = v_row.restored, restored_ms = v_row.restored_ms,
            timeline = coalesce(v_here.timeline, e.timeline), system_id = coalesce(v_here.system_id, e.system_id),
            table_id = v_here.table_id, seen_ms = greatest(e.seen_ms, p_now_ms), span = v_row.span,
            lifted_upto = v_row.lifted_upto;
    ELSIF v_row.seen_ms < p_now_ms - 600000 THEN
        BEGIN
            UPDATE mailstore.epoch e SET seen_ms = p_now_ms, timeline = coalesce(v_here.timeline, e.timeline),
                system_id = coalesce(v_here.system_id, e.system_id)
            WHERE e.only_row = (SELECT o.only_row FROM mailstore.epoch o FOR UPDATE SKIP LOCKED);
        EXCEPTION WHEN disk_full OR io_error OR read_only_sql_transaction THEN
            NULL;  -- what can still be read is worth more than this note
        END;
    END IF;
    r_epoch := v_row.epoch;
    r_restored := v_row.restored;
    r_restored_ms := v_row.restored_ms;
    r_lifting := v_row.lifted_upto IS NOT NULL;
    SELECT h.reason, h.span, h.mailboxes, h.folders, h.renewed
    INTO r_reason, r_span, r_mailboxes, r_folders, r_renewed
    FROM mailstore.epoch_history h WHERE h.epoch = v_row.epoch;
    RETURN NEXT;
END $$;

-- load_entries_v1 as before, with mod_seqs that count the lift.
CREATE OR REPLACE FUNCTION mailstore.load_entries_v1(p_mailbox_id uuid, p_folder_id integer) RETURNS TABLE (
    r_uid_validity bigint, r_uid_next bigint, r_highest_mod_seq bigint,
    r_uids bytea, r_flags bytea, r_mod_seqs bytea, r_octets bytea, r_internal_dates bytea, r_sent_days bytea,
    r_save_dates bytea, r_email_ids bytea, r_keyword_uids bigint[], r_keywords text[], r_vanished bytea,
    r_complete boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
BEGIN
    RETURN QUERY
    SELECT v_folder.uid_validity, v_folder.uid_next, v_folder.highest_mod_seq,
           string_agg(substr(int8send(e.uid), 5), ''::bytea), string_agg(substr(int2send(e.marks), 2), ''::bytea),
           string_agg(int8send(e.mod_seq), ''::bytea), string_agg(substr(int8send(e.octets), 5), ''::bytea),
           string_agg(int8send(e.internal_date), ''::bytea),
           string_agg(int4send(e.sent_day), ''::bytea),
           string_agg(int8send(e.save_date), ''::bytea), string_agg(uuid_send(e.email_id), ''::bytea),
           array_agg(e.uid) FILTER (WHERE e.keywords IS NOT NULL),
           array_agg(array_to_string(e.keywords, ' ')) FILTER (WHERE e.keywords IS NOT NULL), ''::bytea, true
    FROM (
        SELECT e.uid, e.flags | CASE WHEN e.keywords IS NULL THEN 0 ELSE 128 END::smallint AS marks,
               greatest(e.mod_seq, v_folder.lift_mod_seq) AS mod_seq,
               e.octets, e.internal_date, coalesce(e.sent_day, -2147483648) AS sent_day, e.save_date, e.email_id,
               e.keywords
        FROM mailstore.entry e
        WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id
        ORDER BY e.uid
    ) e;
END $$;

-- load_changes_v1 as before since the lift; over it every entry has changed, and the skipped uids have vanished.
ALTER FUNCTION mailstore.load_changes_v1(uuid, integer, bigint) RENAME TO load_recent_changes;
CREATE FUNCTION mailstore.load_changes_v1(p_mailbox_id uuid, p_folder_id integer, p_since bigint) RETURNS TABLE (
    r_uid_validity bigint, r_uid_next bigint, r_highest_mod_seq bigint,
    r_uids bytea, r_flags bytea, r_mod_seqs bytea, r_octets bytea, r_internal_dates bytea, r_sent_days bytea,
    r_save_dates bytea, r_email_ids bytea, r_keyword_uids bigint[], r_keywords text[], r_vanished bytea,
    r_complete boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_folder mailstore.folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
BEGIN
    IF p_since >= v_folder.lift_mod_seq OR p_since < v_folder.change_floor THEN
        RETURN QUERY SELECT * FROM mailstore.load_recent_changes(p_mailbox_id, p_folder_id, p_since);
    ELSE
        RETURN QUERY
        SELECT l.r_uid_validity, l.r_uid_next, l.r_highest_mod_seq, l.r_uids, l.r_flags, l.r_mod_seqs, l.r_octets,
               l.r_internal_dates, l.r_sent_days, l.r_save_dates, l.r_email_ids, l.r_keyword_uids, l.r_keywords,
               mailstore.pack_ranges((
                   SELECT range_agg(c.uids) FROM mailstore.change c
                   WHERE c.mailbox_id = p_mailbox_id AND c.folder_id = p_folder_id AND c.mod_seq > p_since
                     AND c.kind = 3)), true
        FROM mailstore.load_entries_v1(p_mailbox_id, p_folder_id) AS l;
    END IF;
END $$;

-- store_flags_v2 as before; a condition from before the lift holds for no entry (RFC 7162 §3.1.3).
CREATE OR REPLACE FUNCTION mailstore.store_flags_v2(
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
    v_folder mailstore.folder;
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
    v_folder := mailstore.get_folder(p_mailbox_id, p_folder_id);
    IF p_unchanged_since < v_folder.lift_mod_seq THEN
        r_mod_seq := v_folder.highest_mod_seq;
        r_modified := ARRAY(
            SELECT e.uid FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid = ANY (p_uids) ORDER BY e.uid);
    ELSE
        SELECT s.r_mod_seq, s.r_modified INTO r_mod_seq, r_modified
        FROM mailstore.store_flags_v1(
            p_mailbox_id, p_folder_id, p_uids, p_mode, p_flags, p_keywords, p_unchanged_since, p_max_keywords, p_now_ms
        ) AS s;
    END IF;
    r_changed := r_mod_seq > v_box.mod_seq;
    IF p_operation_key IS NOT NULL THEN
        -- No message was allotted a uid: the column says whether flags changed.
        INSERT INTO mailstore.operation (
            mailbox_id, operation_key, at_ms, folder_id, uid_validity, uid, mod_seq, sources, modified)
        VALUES (p_mailbox_id, p_operation_key, p_now_ms, p_folder_id, v_folder.uid_validity, r_changed::integer,
                r_mod_seq, '{}'::int8multirange,
                coalesce((SELECT range_agg(int8range(u, u + 1)) FROM unnest(r_modified) AS u), '{}'::int8multirange));
    END IF;
    RETURN NEXT;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA mailstore FROM PUBLIC;
REVOKE ALL ON FUNCTION mailstore.load_recent_changes FROM postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.load_changes_v1 TO postbus_imap_gateway;
GRANT EXECUTE ON FUNCTION mailstore.ensure_epoch_v1
    TO postbus_delivery, postbus_imap_gateway, postbus_indexer, postbus_directory, postbus_filter;
