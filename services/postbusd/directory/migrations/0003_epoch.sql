-- Revisions go up by a million with every new epoch of the mail store (a failover, a restore): caches of other
-- processes may know revisions that are lost, and must not take what comes now for older than that.

ALTER TABLE directory.revision ADD COLUMN epoch integer NOT NULL DEFAULT 1;
