-- What a deleted mailbox was, so that it can be restored, and whether its mail is going for good.

ALTER TABLE directory.deleted_mailbox
    ADD COLUMN owner_kind text,
    ADD COLUMN owner_name text,
    ADD COLUMN quota_octets bigint,
    ADD COLUMN pop3 boolean NOT NULL DEFAULT false,
    ADD COLUMN purging boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN directory.deleted_mailbox.owner_name IS 'NULL: not known, of mailboxes deleted before there was an archive.';
COMMENT ON COLUMN directory.deleted_mailbox.purging IS 'Its mail is being taken away: it can''t be restored.';
CREATE INDEX deleted_mailbox_purging ON directory.deleted_mailbox (mailbox_id) WHERE purging;
