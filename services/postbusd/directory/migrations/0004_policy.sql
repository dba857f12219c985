-- What holds for all mail of the installation: one row, made with the first change; without it the defaults hold.

CREATE TABLE directory.policy (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    policy jsonb NOT NULL
);
COMMENT ON COLUMN directory.policy.policy IS 'postbus.contracts.policy.Policy; what is left out has its default.';

GRANT SELECT, INSERT, UPDATE, DELETE ON directory.policy TO postbus_directory;
