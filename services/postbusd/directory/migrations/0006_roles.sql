-- Roles: superadmins administer everything, domain admins the objects of their domains, everybody else their own things.

ALTER TABLE directory.user_account
    ADD COLUMN superadmin boolean NOT NULL DEFAULT false,
    ADD COLUMN recovery_address text NOT NULL DEFAULT '';
COMMENT ON COLUMN directory.user_account.recovery_address IS
    'Where a forgotten password is reset; as it was given, empty: nowhere.';

CREATE TABLE directory.domain_admin (
    user_id uuid NOT NULL REFERENCES directory.user_account (user_id) ON DELETE CASCADE,
    domain text NOT NULL REFERENCES directory.domain (name) ON DELETE CASCADE,
    PRIMARY KEY (user_id, domain)
);
CREATE INDEX domain_admin_domain ON directory.domain_admin (domain);

-- The oldest superadmin (postmaster@, abuse@).
CREATE INDEX user_account_superadmin ON directory.user_account (created, user_id) WHERE superadmin;

GRANT SELECT, INSERT, UPDATE, DELETE ON directory.domain_admin TO postbus_directory;
