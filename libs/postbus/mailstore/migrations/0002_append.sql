-- append_v1: a batch of appends, each atomic by its outcome code, in one round trip.

-- Locks the mailbox row: the first thing every write does.
CREATE FUNCTION mailstore.lock_mailbox(p_mailbox_id uuid) RETURNS mailstore.mailbox
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_box mailstore.mailbox;
BEGIN
    SELECT * INTO v_box FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'mailbox % is not there', p_mailbox_id USING ERRCODE = 'PB404';
    END IF;
    RETURN v_box;
END $$;

-- The folder an append wants: by use, id or name, else INBOX where the caller allows it.
CREATE FUNCTION mailstore.find_folder(
    p_mailbox_id uuid, p_use text, p_folder_id integer, p_name text, p_fallback boolean
) RETURNS mailstore.folder
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_folder mailstore.folder;
BEGIN
    IF p_use IS NOT NULL THEN
        SELECT * INTO v_folder FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.special_use = p_use;
    ELSIF p_folder_id IS NOT NULL THEN
        SELECT * INTO v_folder FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.folder_id = p_folder_id;
    ELSE
        SELECT * INTO v_folder FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.name = p_name;
    END IF;
    IF v_folder.folder_id IS NULL AND p_fallback THEN
        SELECT * INTO v_folder FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id AND f.special_use = 'inbox';
    END IF;
    RETURN v_folder;
END $$;

-- Results in ascending position. outcome: stored, duplicate, no_folder, over_quota, no_mailbox, invalid.
-- p_quota: octets, NULL = no limit. p_id_keys: the id keys of all appends one after the other, p_id_counts each.
-- p_event_positions, p_events: outbox rows and the append they belong to (from 1).
CREATE FUNCTION mailstore.append_v1(
    p_now_ms bigint,
    p_mailbox_id uuid[], p_operation_key text[], p_use text[], p_folder_id integer[], p_name text[],
    p_fallback boolean[], p_quota bigint[], p_flags smallint[], p_keywords text[],
    p_email_id uuid[], p_blob_id text[], p_prefix bytea[], p_octets bigint[], p_internal_date bigint[],
    p_sent_day integer[], p_structure bytea[], p_envelope bytea[], p_preview text[],
    p_id_keys bigint[], p_id_counts integer[], p_subject_key bigint[], p_by_subject boolean[],
    p_event_positions integer[], p_events bytea[]
) RETURNS TABLE (
    r_position integer, r_outcome text, r_folder_id integer, r_uid_validity bigint, r_uid bigint, r_mod_seq bigint,
    r_folder_name text
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    a record;
    v_box mailstore.mailbox;
    v_folder mailstore.folder;
    v_operation mailstore.operation;
    v_keys bigint[];
    v_thread_id uuid;
BEGIN
    FOR a IN
        SELECT u.*, sum(u.id_count) OVER (ORDER BY u.n) AS id_end
        FROM unnest(p_mailbox_id, p_operation_key, p_use, p_folder_id, p_name, p_fallback, p_quota, p_flags, p_keywords,
                    p_email_id, p_blob_id, p_prefix, p_octets, p_internal_date, p_sent_day, p_structure, p_envelope,
                    p_preview, p_id_counts, p_subject_key, p_by_subject)
            WITH ORDINALITY AS u(mailbox_id, operation_key, use, folder_id, name, fallback, quota, flags, keywords,
                                 email_id, blob_id, prefix, octets, internal_date, sent_day, structure, envelope,
                                 preview, id_count, subject_key, by_subject, n)
        ORDER BY u.mailbox_id, u.n
    LOOP
        r_position := a.n;
        r_folder_id := 0; r_uid_validity := 0; r_uid := 0; r_mod_seq := 0; r_folder_name := '';
        IF v_box.mailbox_id IS DISTINCT FROM a.mailbox_id THEN
            SELECT * INTO v_box FROM mailstore.mailbox m WHERE m.mailbox_id = a.mailbox_id FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                r_outcome := 'no_mailbox';
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;

        SELECT * INTO v_operation FROM mailstore.operation o
        WHERE o.mailbox_id = a.mailbox_id AND o.operation_key = a.operation_key;
        IF FOUND THEN
            r_outcome := 'invalid';
            IF v_operation.sources IS NULL THEN
                r_outcome := 'duplicate';
                r_folder_id := v_operation.folder_id;
                r_uid_validity := v_operation.uid_validity;
                r_uid := v_operation.uid;
                r_mod_seq := v_operation.mod_seq;
                r_folder_name := coalesce((SELECT f.name FROM mailstore.folder f
                                           WHERE f.mailbox_id = a.mailbox_id AND f.folder_id = r_folder_id), '');
            END IF;
            RETURN NEXT;
            CONTINUE;
        END IF;

        v_folder := mailstore.find_folder(a.mailbox_id, a.use, a.folder_id, a.name, a.fallback);
        IF v_folder.folder_id IS NULL THEN
            r_outcome := 'no_folder';
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF v_box.octets + a.octets > a.quota THEN
            r_outcome := 'over_quota';
            RETURN NEXT;
            CONTINUE;
        END IF;

        v_keys := p_id_keys[a.id_end - a.id_count + 1 : a.id_end];
        v_thread_id := NULL;
        IF a.by_subject THEN
            SELECT t.thread_id INTO v_thread_id FROM mailstore.thread_key t
            WHERE t.mailbox_id = a.mailbox_id AND t.key_hash = ANY (v_keys || a.subject_key)
            ORDER BY array_position(v_keys, t.key_hash) LIMIT 1;
        ELSIF a.id_count > 0 THEN
            SELECT t.thread_id INTO v_thread_id FROM mailstore.thread_key t
            WHERE t.mailbox_id = a.mailbox_id AND t.key_hash = ANY (v_keys)
            ORDER BY array_position(v_keys, t.key_hash) LIMIT 1;
        END IF;
        IF a.subject_key IS NOT NULL THEN
            v_keys := v_keys || a.subject_key;
        END IF;

        v_box.mod_seq := v_box.mod_seq + 1;
        v_box.octets := v_box.octets + a.octets;
        v_box.all_uid_next := v_box.all_uid_next + 1;
        WITH new_message AS (
            INSERT INTO mailstore.message AS m (
                mailbox_id, email_id, blob_id, prefix, octets, internal_date, sent_day, structure, thread_id,
                thread_keys, preview, all_uid, entries)
            VALUES (a.mailbox_id, a.email_id, a.blob_id, a.prefix, a.octets, a.internal_date, a.sent_day, a.structure,
                    coalesce(v_thread_id, a.email_id), v_keys, a.preview, v_box.all_uid_next - 1, 1)
            ON CONFLICT (mailbox_id, email_id) DO UPDATE SET entries = m.entries + 1
            RETURNING xmax = 0 AS is_new
        ), new_envelope AS (
            INSERT INTO mailstore.envelope (mailbox_id, email_id, envelope)
            SELECT a.mailbox_id, a.email_id, a.envelope FROM new_message WHERE is_new
        ), new_keys AS (
            INSERT INTO mailstore.thread_key AS t (mailbox_id, key_hash, thread_id, uses)
            SELECT DISTINCT a.mailbox_id, k, coalesce(v_thread_id, a.email_id), 1
            FROM new_message, unnest(v_keys) AS k WHERE is_new
            ON CONFLICT (mailbox_id, key_hash) DO UPDATE
            SET uses = t.uses + 1,
                thread_id = CASE WHEN t.key_hash = a.subject_key THEN excluded.thread_id ELSE t.thread_id END
        ), new_entry AS (
            INSERT INTO mailstore.entry (
                mailbox_id, folder_id, uid, email_id, flags, keywords, mod_seq, save_date, octets, internal_date,
                sent_day)
            VALUES (a.mailbox_id, v_folder.folder_id, v_folder.uid_next, a.email_id, a.flags,
                    string_to_array(a.keywords, ' '), v_box.mod_seq, p_now_ms, a.octets, a.internal_date, a.sent_day)
        ), new_change AS (
            INSERT INTO mailstore.change (mailbox_id, folder_id, mod_seq, kind, at_ms, uids)
            VALUES (a.mailbox_id, v_folder.folder_id, v_box.mod_seq, 1, p_now_ms,
                    int8multirange(int8range(v_folder.uid_next, v_folder.uid_next + 1)))
        ), new_operation AS (
            INSERT INTO mailstore.operation (mailbox_id, operation_key, at_ms, folder_id, uid_validity, uid, mod_seq)
            VALUES (a.mailbox_id, a.operation_key, p_now_ms, v_folder.folder_id, v_folder.uid_validity,
                    v_folder.uid_next, v_box.mod_seq)
        ), new_pending AS (
            INSERT INTO mailstore.index_pending AS p (mailbox_id, email_id, enqueue, enqueued_ms, due_ms)
            VALUES (a.mailbox_id, a.email_id, nextval('mailstore.index_enqueue'), p_now_ms, p_now_ms)
            ON CONFLICT (mailbox_id, email_id) DO UPDATE
            SET enqueue = excluded.enqueue, enqueued_ms = excluded.enqueued_ms, due_ms = excluded.due_ms, attempt = 0
        ), new_outbox AS (
            INSERT INTO mailstore.outbox (at_ms, event)
            SELECT p_now_ms, e.event FROM unnest(p_event_positions, p_events) AS e(n, event) WHERE e.n = a.n
        ), new_folder AS (
            UPDATE mailstore.folder f
            SET uid_next = f.uid_next + 1, highest_mod_seq = v_box.mod_seq, messages = f.messages + 1,
                unseen = f.unseen + (a.flags & 1 = 0)::integer, deleted = f.deleted + (a.flags & 8 <> 0)::integer,
                octets = f.octets + a.octets
            WHERE f.mailbox_id = a.mailbox_id AND f.folder_id = v_folder.folder_id
        )
        UPDATE mailstore.mailbox m
        SET octets = v_box.octets, messages = m.messages + 1, mod_seq = v_box.mod_seq,
            all_uid_next = v_box.all_uid_next
        WHERE m.mailbox_id = a.mailbox_id;

        r_outcome := 'stored';
        r_folder_id := v_folder.folder_id;
        r_uid_validity := v_folder.uid_validity;
        r_uid := v_folder.uid_next;
        r_mod_seq := v_box.mod_seq;
        r_folder_name := v_folder.name;
        RETURN NEXT;
    END LOOP;
END $$;
