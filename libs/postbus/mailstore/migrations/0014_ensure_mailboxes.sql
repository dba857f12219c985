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
REVOKE ALL ON FUNCTION mailstore.ensure_mailboxes_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.ensure_mailboxes_v1 TO postbus_directory;
