-- Schema `dns`: the private CA and server certificates. Only the service `dns-provisioner` reads and writes it.

CREATE TABLE dns.revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
COMMENT ON TABLE dns.revision IS
    'Counts changes of what is in force; its row is locked by whoever changes anything. 0: nothing made yet.';
INSERT INTO dns.revision (revision) VALUES (0);

CREATE TABLE dns.authority (
    authority_id uuid PRIMARY KEY,
    certificate_pem bytea NOT NULL,
    key_sealed bytea NOT NULL,
    not_after timestamptz NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    retired timestamptz
);
COMMENT ON COLUMN dns.authority.key_sealed IS 'PKCS #8 PEM, sealed with the master key for authority:<authority_id>.';
CREATE UNIQUE INDEX authority_in_force ON dns.authority ((true)) WHERE retired IS NULL;

CREATE TABLE dns.certificate (
    certificate_id uuid PRIMARY KEY,
    names text[] NOT NULL CHECK (cardinality(names) > 0),
    certificate_pem bytea NOT NULL,
    key_sealed bytea NOT NULL,
    not_after timestamptz NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    retired timestamptz
);
COMMENT ON COLUMN dns.certificate.names IS 'DNS names and IP addresses, the main one first.';
COMMENT ON COLUMN dns.certificate.key_sealed IS
    'PKCS #8 PEM, sealed with the master key for certificate:<certificate_id>; emptied when retired.';
CREATE INDEX certificate_in_force ON dns.certificate (created) WHERE retired IS NULL;

GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA dns TO postbus_dns_provisioner;
