-- The mail server's location, signatures, other takers of a domain's mail, and what its mailboxes have.

ALTER TABLE directory.domain
    ADD COLUMN mail_host text NOT NULL DEFAULT '',
    ADD COLUMN signature_text text CHECK (signature_text <> ''),
    ADD COLUMN signature_html text NOT NULL DEFAULT '',
    ADD COLUMN alternate_mx text[] NOT NULL DEFAULT '{}',
    ADD COLUMN all_mail boolean NOT NULL DEFAULT false,
    ADD COLUMN sharing boolean NOT NULL DEFAULT false,
    ADD COLUMN search boolean NOT NULL DEFAULT true;
CREATE INDEX domain_mail_host ON directory.domain (mail_host) WHERE mail_host <> '';
COMMENT ON COLUMN directory.domain.mail_host IS 'Where its people connect and its MX points to; empty: the policy says.';
COMMENT ON COLUMN directory.domain.signature_text IS 'Under every submitted message; NULL: none.';
COMMENT ON COLUMN directory.domain.signature_html IS 'A fragment of HTML; empty: made of the text.';
COMMENT ON COLUMN directory.domain.alternate_mx IS 'Hosts and networks that pass its mail on to us.';
