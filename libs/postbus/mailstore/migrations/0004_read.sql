-- What folder views and FETCH read: no locks, one round trip each. All of a function sees one snapshot (STABLE).
-- LATERAL … OFFSET 0 makes a look-up by the whole key of each row, whatever the statistics say.

CREATE FUNCTION mailstore.heads_v1(p_mailbox_ids uuid[], p_folder_ids integer[]) RETURNS TABLE (
    r_mailbox_id uuid, r_folder_id integer, r_uid_validity bigint, r_uid_next bigint, r_highest_mod_seq bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT f.mailbox_id, f.folder_id, f.uid_validity, f.uid_next, f.highest_mod_seq
    FROM unnest(p_mailbox_ids, p_folder_ids) WITH ORDINALITY AS u(mailbox_id, folder_id, n)
    CROSS JOIN LATERAL (
        SELECT * FROM mailstore.folder f WHERE f.mailbox_id = u.mailbox_id AND f.folder_id = u.folder_id OFFSET 0
    ) f
    ORDER BY u.n
$$;

-- Ranges as pairs of int8: the first and the last uid.
CREATE FUNCTION mailstore.pack_ranges(p_uids int8multirange) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(int8send(lower(r)) || int8send(upper(r) - 1), ''::bytea ORDER BY lower(r)), ''::bytea)
    FROM unnest(p_uids) AS r
$$;

CREATE FUNCTION mailstore.load_entries_v1(p_mailbox_id uuid, p_folder_id integer) RETURNS TABLE (
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
        SELECT e.uid, e.flags | CASE WHEN e.keywords IS NULL THEN 0 ELSE 128 END::smallint AS marks, e.mod_seq,
               e.octets, e.internal_date, coalesce(e.sent_day, -2147483648) AS sent_day, e.save_date, e.email_id,
               e.keywords
        FROM mailstore.entry e
        WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id
        ORDER BY e.uid
    ) e;
END $$;

-- The same for the entries changed since p_since, found by the change rows, and the uids vanished since then.
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
    v_changed int8multirange := '{}';
    v_vanished int8multirange := '{}';
    v_complete boolean := p_since >= v_folder.change_floor;
BEGIN
    IF v_complete AND p_since < v_folder.highest_mod_seq THEN
        SELECT range_agg(c.uids) FILTER (WHERE c.kind <> 3), range_agg(c.uids) FILTER (WHERE c.kind = 3)
        INTO v_changed, v_vanished
        FROM mailstore.change c
        WHERE c.mailbox_id = p_mailbox_id AND c.folder_id = p_folder_id AND c.mod_seq > p_since;
    END IF;
    RETURN QUERY
    SELECT v_folder.uid_validity, v_folder.uid_next, v_folder.highest_mod_seq,
           string_agg(substr(int8send(e.uid), 5), ''::bytea), string_agg(substr(int2send(e.marks), 2), ''::bytea),
           string_agg(int8send(e.mod_seq), ''::bytea), string_agg(substr(int8send(e.octets), 5), ''::bytea),
           string_agg(int8send(e.internal_date), ''::bytea),
           string_agg(int4send(e.sent_day), ''::bytea),
           string_agg(int8send(e.save_date), ''::bytea), string_agg(uuid_send(e.email_id), ''::bytea),
           array_agg(e.uid) FILTER (WHERE e.keywords IS NOT NULL),
           array_agg(array_to_string(e.keywords, ' ')) FILTER (WHERE e.keywords IS NOT NULL),
           mailstore.pack_ranges(v_vanished), v_complete
    FROM (
        SELECT e.uid, e.flags | CASE WHEN e.keywords IS NULL THEN 0 ELSE 128 END::smallint AS marks, e.mod_seq,
               e.octets, e.internal_date, coalesce(e.sent_day, -2147483648) AS sent_day, e.save_date, e.email_id,
               e.keywords
        FROM unnest(v_changed) AS r
        CROSS JOIN LATERAL (
            SELECT * FROM mailstore.entry e
            WHERE e.mailbox_id = p_mailbox_id AND e.folder_id = p_folder_id AND e.uid >= lower(r) AND e.uid < upper(r)
              AND e.mod_seq > p_since
            OFFSET 0
        ) e
        ORDER BY e.uid
    ) e;
END $$;

CREATE FUNCTION mailstore.fetch_messages_v1(p_mailbox_id uuid, p_email_ids uuid[]) RETURNS TABLE (
    r_email_id text, r_blob_id text, r_prefix bytea, r_octets bigint, r_internal_date bigint, r_structure bytea,
    r_thread_id text, r_preview text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT m.email_id::text, m.blob_id, m.prefix, m.octets, m.internal_date, m.structure, m.thread_id::text, m.preview
    FROM mailstore.message m
    WHERE m.mailbox_id = p_mailbox_id AND m.email_id = ANY (p_email_ids)
$$;

-- ENVELOPEs one after the other in the order asked for, and the octets of each as int4 (0: no such message).
CREATE FUNCTION mailstore.fetch_envelopes_v1(p_mailbox_id uuid, p_email_ids uuid[]) RETURNS TABLE (
    r_lengths bytea, r_envelopes bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0 AS $$
    SELECT string_agg(int4send(length(x.envelope)), ''::bytea), string_agg(x.envelope, ''::bytea)
    FROM (
        SELECT coalesce((SELECT v.envelope FROM mailstore.envelope v
                         WHERE v.mailbox_id = p_mailbox_id AND v.email_id = u.email_id), ''::bytea) AS envelope
        FROM unnest(p_email_ids) WITH ORDINALITY AS u(email_id, n)
        ORDER BY u.n
    ) x
$$;
