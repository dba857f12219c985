-- Users, groups and apps own mailboxes and hold the credentials; aliases, groups, lists and catch-all give addresses.

CREATE TABLE directory.user_account (
    user_id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE CHECK (username = lower(username) AND length(username) BETWEEN 1 AND 254),
    display_name text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    created timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE directory.user_group (
    group_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name = lower(name) AND length(name) BETWEEN 1 AND 100),
    local_part text CHECK (local_part = lower(local_part)),
    domain text REFERENCES directory.domain (name),
    created timestamptz NOT NULL DEFAULT now(),
    CHECK ((local_part IS NULL) = (domain IS NULL)),
    UNIQUE (domain, local_part)
);
COMMENT ON COLUMN directory.user_group.local_part IS 'NULL: the group has no address.';

CREATE TABLE directory.group_member (
    group_id uuid NOT NULL REFERENCES directory.user_group (group_id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_member_user ON directory.group_member (user_id);

CREATE TABLE directory.app (
    app_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name = lower(name) AND length(name) BETWEEN 1 AND 100),
    active boolean NOT NULL DEFAULT true,
    created timestamptz NOT NULL DEFAULT now()
);

-- A mailbox has one owner. Those made before owners existed get a user of their own, named by their address.
ALTER TABLE directory.mailbox
    ADD COLUMN owner_user uuid REFERENCES directory.user_account (user_id),
    ADD COLUMN owner_group uuid REFERENCES directory.user_group (group_id),
    ADD COLUMN owner_app uuid REFERENCES directory.app (app_id);
INSERT INTO directory.user_account (user_id, username, created)
SELECT gen_random_uuid(), local_part || '@' || domain, created FROM directory.mailbox;
UPDATE directory.mailbox m SET owner_user = u.user_id
FROM directory.user_account u WHERE u.username = m.local_part || '@' || m.domain;
ALTER TABLE directory.mailbox ADD CONSTRAINT mailbox_owner CHECK (num_nonnulls(owner_user, owner_group, owner_app) = 1);
CREATE INDEX mailbox_owner_user ON directory.mailbox (owner_user, active, created, mailbox_id)
    WHERE owner_user IS NOT NULL;
CREATE INDEX mailbox_owner_group ON directory.mailbox (owner_group) WHERE owner_group IS NOT NULL;
CREATE UNIQUE INDEX mailbox_owner_app ON directory.mailbox (owner_app) WHERE owner_app IS NOT NULL;

ALTER TABLE directory.credential RENAME TO credential_0001;
CREATE TABLE directory.credential (
    user_id uuid REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    app_id uuid REFERENCES directory.app (app_id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('password', 'generated')),
    secret_hash text NOT NULL,
    tag smallint CHECK (tag BETWEEN 0 AND 255),
    changed timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(user_id, app_id) = 1)
);
CREATE UNIQUE INDEX credential_user ON directory.credential (user_id, kind) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX credential_app ON directory.credential (app_id, kind) WHERE app_id IS NOT NULL;
COMMENT ON COLUMN directory.credential.secret_hash IS
    'password: Argon2id in PHC string format; generated: HMAC-SHA-256 of the credential, hexadecimal.';
COMMENT ON COLUMN directory.credential.tag IS
    'First octet of a keyed digest of the password: a group mailbox tries only members whose tag fits. NULL: unknown.';
INSERT INTO directory.credential (user_id, kind, secret_hash, changed)
SELECT m.owner_user, c.kind, c.secret_hash, c.changed
FROM directory.credential_0001 c JOIN directory.mailbox m USING (mailbox_id);
DROP TABLE directory.credential_0001;

CREATE TABLE directory.alias (
    local_part text NOT NULL CHECK (local_part = lower(local_part)),
    domain text NOT NULL REFERENCES directory.domain (name),
    mailbox_id uuid NOT NULL REFERENCES directory.mailbox (mailbox_id) ON DELETE CASCADE,
    created timestamptz NOT NULL DEFAULT now(),
    wildcard boolean GENERATED ALWAYS AS (strpos(local_part, '*') > 0) STORED,
    literal_characters integer GENERATED ALWAYS AS (length(replace(local_part, '*', ''))) STORED,
    like_pattern text GENERATED ALWAYS AS (
        replace(replace(replace(replace(local_part, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')) STORED,
    anchor text GENERATED ALWAYS AS (
        CASE
            WHEN strpos(local_part, '*') = 0 THEN NULL
            WHEN strpos(local_part, '*') >= strpos(reverse(local_part), '*')
                THEN '<' || left(local_part, strpos(local_part, '*') - 1)
            ELSE '>' || right(local_part, strpos(reverse(local_part), '*') - 1)
        END) STORED,
    PRIMARY KEY (domain, local_part)
);
CREATE INDEX alias_wildcard ON directory.alias (domain, anchor) WHERE wildcard;
CREATE INDEX alias_address ON directory.alias ((local_part || '@' || domain) COLLATE "C");
CREATE INDEX alias_mailbox ON directory.alias (mailbox_id);
COMMENT ON COLUMN directory.alias.literal_characters IS 'The more, the more specific a wildcard is.';
COMMENT ON COLUMN directory.alias.anchor IS
    'Of a wildcard: < and what stands before its first *, or > and what follows its last one, whichever is longer. An
address can fit only those whose anchor is one of its own beginnings or ends: few among thousands.';

CREATE TABLE directory.mailing_list (
    list_id uuid PRIMARY KEY,
    local_part text NOT NULL CHECK (local_part = lower(local_part)),
    domain text NOT NULL REFERENCES directory.domain (name),
    active boolean NOT NULL DEFAULT true,
    members_only boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now(),
    UNIQUE (domain, local_part)
);
CREATE TABLE directory.list_member (
    list_id uuid NOT NULL REFERENCES directory.mailing_list (list_id) ON DELETE CASCADE,
    local_part text NOT NULL,
    domain text NOT NULL,
    PRIMARY KEY (list_id, domain, local_part)
);
COMMENT ON COLUMN directory.list_member.local_part IS 'Folded where the domain is ours, as it was given elsewhere.';

CREATE TABLE directory.catch_all (
    domain text NOT NULL REFERENCES directory.domain (name) ON DELETE CASCADE,
    mailbox_id uuid NOT NULL REFERENCES directory.mailbox (mailbox_id) ON DELETE CASCADE,
    PRIMARY KEY (domain, mailbox_id)
);
CREATE INDEX catch_all_mailbox ON directory.catch_all (mailbox_id);

ALTER TABLE directory.domain
    ADD COLUMN relay_host text,
    ADD COLUMN relay_port integer CHECK (relay_port BETWEEN 1 AND 65535),
    ADD COLUMN relay_security text CHECK (relay_security IN ('starttls', 'tls', 'none')),
    ADD COLUMN relay_username text NOT NULL DEFAULT '',
    ADD COLUMN relay_password_sealed bytea NOT NULL DEFAULT '',
    ADD CONSTRAINT domain_relay CHECK (num_nulls(relay_host, relay_port, relay_security) IN (0, 3));
COMMENT ON COLUMN directory.domain.relay_password_sealed IS
    'Sealed with the master key for relay:<domain>; empty: none.';

-- An address is one thing only. The claims follow the tables by triggers, so that no writer can forget them; a list
-- claims its bounce address too. A clash is a unique_violation of address_claim_pkey.
CREATE TABLE directory.address_claim (
    domain text NOT NULL,
    local_part text NOT NULL,
    kind text NOT NULL,
    CONSTRAINT address_claim_pkey PRIMARY KEY (domain, local_part)
);
CREATE FUNCTION directory.follow_address() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_suffixes text[] := CASE TG_ARGV[0] WHEN 'list' THEN ARRAY['', '-bounces'] ELSE ARRAY[''] END;
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.local_part IS NOT NULL THEN
        DELETE FROM directory.address_claim c
        WHERE c.domain = OLD.domain AND c.local_part = ANY (SELECT OLD.local_part || s FROM unnest(v_suffixes) s);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.local_part IS NOT NULL THEN
        INSERT INTO directory.address_claim (domain, local_part, kind)
        SELECT NEW.domain, NEW.local_part || s, TG_ARGV[0] FROM unnest(v_suffixes) s;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER claim AFTER INSERT OR DELETE OR UPDATE OF local_part, domain ON directory.mailbox
    FOR EACH ROW EXECUTE FUNCTION directory.follow_address('mailbox');
CREATE TRIGGER claim AFTER INSERT OR DELETE OR UPDATE OF local_part, domain ON directory.alias
    FOR EACH ROW EXECUTE FUNCTION directory.follow_address('alias');
CREATE TRIGGER claim AFTER INSERT OR DELETE OR UPDATE OF local_part, domain ON directory.user_group
    FOR EACH ROW EXECUTE FUNCTION directory.follow_address('group');
CREATE TRIGGER claim AFTER INSERT OR DELETE OR UPDATE OF local_part, domain ON directory.mailing_list
    FOR EACH ROW EXECUTE FUNCTION directory.follow_address('list');
INSERT INTO directory.address_claim (domain, local_part, kind) SELECT domain, local_part, 'mailbox' FROM directory.mailbox;

CREATE TABLE directory.deleted_mailbox (
    mailbox_id uuid PRIMARY KEY,
    address text NOT NULL,
    deleted timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE directory.deleted_mailbox IS 'Mailboxes whose mail is still in the store, for a later purge or restore.';

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA directory TO postbus_directory;
