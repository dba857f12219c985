-- Schema `dns`: DKIM keys of the administrator's domains. Only the service `dns-provisioner` reads and writes it.

CREATE TABLE dns.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    installation_id text NOT NULL CHECK (installation_id ~ '^[0-9a-f]{8}$')
);
COMMENT ON TABLE dns.installation IS
    'Tells this installation''s DKIM selectors from those of others that sign for the same domain. Its row is locked by '
    'whoever adds keys.';
INSERT INTO dns.installation (installation_id) VALUES (left(gen_random_uuid()::text, 8));

CREATE TABLE dns.dkim_key (
    domain text NOT NULL,
    selector text NOT NULL,
    algorithm text NOT NULL CHECK (algorithm IN ('rsa-sha256', 'ed25519-sha256')),
    key_sealed bytea NOT NULL,
    public_key bytea NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    retired timestamptz,
    PRIMARY KEY (domain, selector)
);
COMMENT ON COLUMN dns.dkim_key.domain IS 'Lower-case A-labels; directory knows which domains there are.';
COMMENT ON COLUMN dns.dkim_key.key_sealed IS
    'PKCS #8 PEM, sealed with the master key for dkim:<domain>:<selector>; emptied when retired.';
COMMENT ON COLUMN dns.dkim_key.public_key IS
    'What p= of the key record says, decoded: SubjectPublicKeyInfo for RSA, 32 octets for Ed25519 (RFC 8463 §4).';
CREATE UNIQUE INDEX dkim_key_in_force ON dns.dkim_key (domain, algorithm) WHERE retired IS NULL;

GRANT SELECT, UPDATE ON dns.installation TO postbus_dns_provisioner;
GRANT SELECT, INSERT, UPDATE ON dns.dkim_key TO postbus_dns_provisioner;
