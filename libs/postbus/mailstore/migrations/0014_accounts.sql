-- Many mailboxes with their special-use folders in one statement each: an import makes thousands.
CREATE FUNCTION mailstore.ensure_mailboxes_v1(p_mailbox_ids uuid[], p_uses text[], p_names text[], p_now_ms bigint)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    WITH made AS (
        INSERT INTO mailstore.mailbox (mailbox_id, folder_next, uid_validity_last)
        SELECT DISTINCT p.mailbox_id, cardinality(p_names) + 1, p_now_ms / 1000 + cardinality(p_names) - 1
        FROM unnest(p_mailbox_ids) AS p (mailbox_id)
        ON CONFLICT DO NOTHING
        RETURNING mailbox_id, mod_seq
    )
    INSERT INTO mailstore.folder (mailbox_id, folder_id, name, uid_validity, highest_mod_seq, special_use)
    SELECT m.mailbox_id, f.number, f.name, p_now_ms / 1000 + f.number - 1, m.mod_seq, f.use
    FROM made m, unnest(p_names, p_uses) WITH ORDINALITY AS f (name, use, number)
$$;

CREATE FUNCTION mailstore.totals_v1(p_mailbox_ids uuid[])
RETURNS TABLE (r_mailbox_id uuid, r_octets bigint, r_messages bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT m.mailbox_id, m.octets, m.messages FROM mailstore.mailbox m WHERE m.mailbox_id = ANY (p_mailbox_ids)
$$;

-- Takes away a piece of a mailbox that nobody may open any more: entries, with messages that are in no other folder and
-- their place in the index, then its history, then the mailbox itself. True: nothing of it is left.
CREATE FUNCTION mailstore.purge_mailbox_v1(p_mailbox_id uuid, p_limit integer, p_now_ms bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_ids uuid[];
    v_octets bigint;
BEGIN
    PERFORM FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    WITH gone AS (
        DELETE FROM mailstore.entry e
        WHERE e.ctid = ANY (ARRAY(
            SELECT d.ctid FROM mailstore.entry d WHERE d.mailbox_id = p_mailbox_id LIMIT p_limit FOR UPDATE))
        RETURNING e.email_id, e.octets
    )
    SELECT array_agg(g.email_id), sum(g.octets) INTO v_ids, v_octets FROM gone g;
    IF v_ids IS NOT NULL THEN
        PERFORM mailstore.release_messages(p_mailbox_id, v_ids, p_now_ms);
        UPDATE mailstore.mailbox m SET messages = m.messages - cardinality(v_ids), octets = m.octets - v_octets
        WHERE m.mailbox_id = p_mailbox_id;
        RETURN false;
    END IF;
    DELETE FROM mailstore.operation o
    WHERE o.ctid = ANY (ARRAY(
        SELECT d.ctid FROM mailstore.operation d WHERE d.mailbox_id = p_mailbox_id LIMIT p_limit FOR UPDATE));
    IF FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM mailstore.change c
    WHERE c.ctid = ANY (ARRAY(
        SELECT d.ctid FROM mailstore.change d WHERE d.mailbox_id = p_mailbox_id LIMIT p_limit FOR UPDATE));
    IF FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM mailstore.thread_key t WHERE t.mailbox_id = p_mailbox_id;
    DELETE FROM mailstore.folder f WHERE f.mailbox_id = p_mailbox_id;
    DELETE FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id;
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION mailstore.ensure_mailboxes_v1, mailstore.totals_v1, mailstore.purge_mailbox_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.ensure_mailboxes_v1, mailstore.totals_v1, mailstore.purge_mailbox_v1,
    mailstore.list_folders_v1 TO postbus_directory;
