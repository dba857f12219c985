-- After a restore the queue starts held (architecture §3): what it says of a copy is what was so when the backup was
-- made, and the copy may have been sent since. The mail store tells which epochs began with a restore.

CREATE TABLE delivery.epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch integer NOT NULL,                     -- of the mail store
    restored integer NOT NULL,                  -- the last restore after which the queue was held
    restored_ms bigint NOT NULL                 -- mail that was accepted before is entered as held
);

-- Called for each new epoch before anything else, again and again while it answers p_limit: each call holds that many
-- copies at most and commits them.
CREATE FUNCTION delivery.begin_epoch_v1(
    p_epoch integer, p_restored integer, p_restored_ms bigint, p_reason text, p_limit integer
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = delivery, pg_temp AS $$
DECLARE
    v_row delivery.epoch;
    v_held integer := 0;
BEGIN
    INSERT INTO delivery.epoch (epoch, restored, restored_ms) VALUES (0, 0, 0) ON CONFLICT DO NOTHING;
    SELECT * INTO v_row FROM delivery.epoch FOR UPDATE;
    IF v_row.restored <> p_restored THEN
        WITH chosen AS (
            SELECT c.queue_id, c.recipient FROM delivery.outgoing_copy c WHERE c.state = 'waiting'
            ORDER BY c.queue_id, c.recipient LIMIT p_limit FOR UPDATE
        )
        UPDATE delivery.outgoing_copy c
        SET state = 'held', lease_owner = '', lease_until_ms = 0, last_reply = p_reason, remote_host = ''
        FROM chosen WHERE c.queue_id = chosen.queue_id AND c.recipient = chosen.recipient;
        GET DIAGNOSTICS v_held = ROW_COUNT;
        IF v_held < p_limit THEN
            v_row.restored := p_restored;
            v_row.restored_ms := p_restored_ms;
        END IF;
    END IF;
    IF v_row.epoch <> p_epoch THEN
        -- A lease's token is never given twice, neither in the time that is lost.
        PERFORM setval('delivery.lease_token', nextval('delivery.lease_token') + 1000000);
    END IF;
    UPDATE delivery.epoch SET epoch = p_epoch, restored = v_row.restored, restored_ms = v_row.restored_ms;
    RETURN v_held;
END $$;

REVOKE ALL ON FUNCTION delivery.begin_epoch_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delivery.begin_epoch_v1 TO postbus_delivery;
GRANT SELECT ON delivery.epoch TO postbus_delivery;
