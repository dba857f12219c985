-- Tokens with names, who made them and when they were last used; the audit log.

ALTER TABLE admin.token
    ADD COLUMN name text NOT NULL DEFAULT '',
    ADD COLUMN created_by text NOT NULL DEFAULT '',
    ADD COLUMN last_used timestamptz;
UPDATE admin.token SET name = token_id;
CREATE UNIQUE INDEX token_name ON admin.token (name);
COMMENT ON COLUMN admin.token.last_used IS 'Coarse: written at most once an hour.';
COMMENT ON COLUMN admin.token.actor IS 'admin, or a username.';

-- A write request is two rows: what is about to happen, before it does, and how it ended. A request without an outcome is
-- under way, or its process ended before it could tell.
CREATE TABLE admin.audit (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text NOT NULL UNIQUE,
    actor text NOT NULL,
    token_id text NOT NULL,
    token_name text NOT NULL,
    client_address text NOT NULL,
    method text NOT NULL,
    operation text NOT NULL,
    object text NOT NULL,
    query text NOT NULL,
    traceparent text NOT NULL,
    request text NOT NULL,
    before text NOT NULL
);
COMMENT ON COLUMN admin.audit.request IS 'JSON, secrets as "changed"; empty: no body. So is before: the object then.';
CREATE INDEX audit_actor ON admin.audit (actor, sequence);
CREATE INDEX audit_object ON admin.audit (object, sequence);
CREATE INDEX audit_operation ON admin.audit (operation, sequence);
CREATE INDEX audit_at ON admin.audit (at);

CREATE TABLE admin.audit_outcome (
    sequence bigint PRIMARY KEY REFERENCES admin.audit ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status integer NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    after text NOT NULL
);
COMMENT ON COLUMN admin.audit_outcome.code IS 'Of the problem; empty: done.';

-- Append-only: no UPDATE, no DELETE, and times are the database's own.
GRANT SELECT ON admin.audit, admin.audit_outcome TO postbus_admin_api;
GRANT INSERT (request_id, actor, token_id, token_name, client_address, method, operation, object, query, traceparent,
    request, before) ON admin.audit TO postbus_admin_api;
GRANT INSERT (sequence, status, code, detail, after) ON admin.audit_outcome TO postbus_admin_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA admin TO postbus_admin_api;

-- The only way out of the audit log: what is older than `days`, never what is younger than seven; at most `most` rows.
CREATE FUNCTION admin.trim_audit_v1(days integer, most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM admin.audit WHERE sequence IN (
            SELECT sequence FROM admin.audit
            WHERE at < now() - make_interval(days => greatest(days, 7))
            ORDER BY at LIMIT least(greatest(most, 0), 10000)
        )
        RETURNING 1
    )
    SELECT count(*)::integer FROM gone
$$;
REVOKE ALL ON FUNCTION admin.trim_audit_v1(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admin.trim_audit_v1(integer, integer) TO postbus_admin_api;

-- The event log: messages by Message-ID and by address, newest first (queue ids sort by time).
CREATE INDEX event_message_id ON admin.event (message_id, queue_id)
    WHERE message_id <> '' AND queue_id <> '' AND octet_length(message_id) <= 1024;
CREATE INDEX event_reverse_path ON admin.event (lower(reverse_path), queue_id)
    WHERE reverse_path <> '' AND queue_id <> '' AND octet_length(reverse_path) <= 1024;
CREATE INDEX event_forward_path ON admin.event (lower(forward_path), queue_id)
    WHERE forward_path <> '' AND queue_id <> '' AND octet_length(forward_path) <= 1024;
CREATE INDEX event_mailbox_message ON admin.event (mailbox, queue_id) WHERE mailbox <> '' AND queue_id <> '';
