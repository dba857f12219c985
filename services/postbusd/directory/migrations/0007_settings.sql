-- Alias domains, suspended domains, quotas of domains; POP3 and send-as of mailboxes.

ALTER TABLE directory.domain
    ADD COLUMN alias_of text REFERENCES directory.domain (name) CHECK (alias_of <> name),
    ADD COLUMN suspended boolean NOT NULL DEFAULT false,
    ADD COLUMN quota_octets bigint CHECK (quota_octets > 0),
    ADD COLUMN default_quota_octets bigint CHECK (default_quota_octets > 0),
    ADD COLUMN max_message_octets bigint CHECK (max_message_octets > 0);
CREATE INDEX domain_alias_of ON directory.domain (alias_of) WHERE alias_of IS NOT NULL;
COMMENT ON COLUMN directory.domain.alias_of IS 'Every address of it means the same local part at that domain.';
COMMENT ON COLUMN directory.domain.quota_octets IS 'What its mailboxes may be granted together; NULL: unlimited.';
COMMENT ON COLUMN directory.domain.default_quota_octets IS 'Of its mailboxes without a quota; NULL: unlimited.';
COMMENT ON COLUMN directory.domain.max_message_octets IS 'Largest message for it; NULL: what the policy says.';

ALTER TABLE directory.mailbox
    DROP CONSTRAINT mailbox_quota_octets_check,
    ADD CONSTRAINT mailbox_quota_octets_check CHECK (quota_octets >= 0),
    ADD COLUMN pop3 boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN directory.mailbox.quota_octets IS 'NULL: the default of its domain; 0: unlimited.';

-- A grant goes with the address, whatever has it.
CREATE TABLE directory.send_as (
    mailbox_id uuid NOT NULL REFERENCES directory.mailbox (mailbox_id) ON DELETE CASCADE,
    domain text NOT NULL,
    local_part text NOT NULL,
    PRIMARY KEY (domain, local_part, mailbox_id),
    FOREIGN KEY (domain, local_part) REFERENCES directory.address_claim (domain, local_part) ON DELETE CASCADE
);
CREATE INDEX send_as_mailbox ON directory.send_as (mailbox_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON directory.send_as TO postbus_directory;
