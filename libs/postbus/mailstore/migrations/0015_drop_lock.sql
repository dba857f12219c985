-- POP3 sessions have a mailbox's INBOX alone (RFC 1939 §3), over all processes: a row a session, which it renews.
CREATE TABLE mailstore.drop_lock (
    mailbox_id uuid PRIMARY KEY,
    holder uuid NOT NULL,
    until_ms bigint NOT NULL
);
COMMENT ON TABLE mailstore.drop_lock IS 'Who reads a mailbox by POP3; a row that is past its time is nobody''s.';

CREATE FUNCTION mailstore.claim_drop_v1(p_mailbox_id uuid, p_holder uuid, p_until_ms bigint, p_now_ms bigint)
RETURNS boolean
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    WITH forgotten AS (  -- of processes that died, an hour ago and more
        DELETE FROM mailstore.drop_lock l WHERE l.until_ms < p_now_ms - 3600000 AND l.mailbox_id <> p_mailbox_id
    ), claimed AS (
        INSERT INTO mailstore.drop_lock AS l (mailbox_id, holder, until_ms)
        SELECT m.mailbox_id, p_holder, p_until_ms FROM mailstore.mailbox m WHERE m.mailbox_id = p_mailbox_id
        ON CONFLICT (mailbox_id) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
            WHERE l.holder = excluded.holder OR l.until_ms < p_now_ms
        RETURNING true)
    SELECT EXISTS (SELECT FROM claimed)
$$;

CREATE FUNCTION mailstore.release_drop_v1(p_mailbox_id uuid, p_holder uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM mailstore.drop_lock l WHERE l.mailbox_id = p_mailbox_id AND l.holder = p_holder
$$;

REVOKE ALL ON FUNCTION mailstore.claim_drop_v1, mailstore.release_drop_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mailstore.claim_drop_v1, mailstore.release_drop_v1 TO postbus_imap_gateway;
