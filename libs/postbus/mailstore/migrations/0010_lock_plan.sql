-- What these functions plan stays for the session, also when the tables grow while it lasts: by their indexes, as all
-- other writing functions do.
ALTER FUNCTION mailstore.lock_mailbox(uuid) SET enable_seqscan = off;
ALTER FUNCTION mailstore.ensure_mailbox_v1(uuid, text[], text[], bigint) SET enable_seqscan = off;
