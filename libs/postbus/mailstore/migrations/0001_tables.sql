-- The tables of the mail store. Every key begins with mailbox_id; every write locks the mailbox row first and nothing
-- else before it, so that commit order is MODSEQ order and deadlocks cannot occur. Services get no table rights:
-- the versioned functions of the following files are the contract between program versions.

CREATE TABLE mailstore.mailbox (
    mailbox_id uuid PRIMARY KEY,
    octets bigint NOT NULL DEFAULT 0,           -- quota use: every entry counts
    messages bigint NOT NULL DEFAULT 0,         -- entries
    mod_seq bigint NOT NULL DEFAULT 1,          -- one counter for all folders
    folder_next integer NOT NULL DEFAULT 1,
    all_uid_next bigint NOT NULL DEFAULT 1,     -- uids of All Mail
    uid_validity_last bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE mailstore.folder (
    mailbox_id uuid NOT NULL,
    folder_id integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    uid_validity bigint NOT NULL,
    uid_next bigint NOT NULL DEFAULT 1 CHECK (uid_next <= 4294967295),
    highest_mod_seq bigint NOT NULL,
    change_floor bigint NOT NULL DEFAULT 0,     -- change rows up to here are trimmed
    special_use text,
    subscribed boolean NOT NULL DEFAULT true,
    messages bigint NOT NULL DEFAULT 0,
    unseen bigint NOT NULL DEFAULT 0,
    deleted bigint NOT NULL DEFAULT 0,
    octets bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (mailbox_id, folder_id)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX folder_name ON mailstore.folder (mailbox_id, name);
CREATE UNIQUE INDEX folder_use ON mailstore.folder (mailbox_id, special_use) WHERE special_use IS NOT NULL;

CREATE TABLE mailstore.message (
    mailbox_id uuid NOT NULL,
    email_id uuid NOT NULL,
    blob_id text COLLATE "C" NOT NULL,
    prefix bytea NOT NULL,
    octets bigint NOT NULL CHECK (octets BETWEEN 0 AND 4294967295),
    internal_date bigint NOT NULL,              -- Unix milliseconds, as every time here
    sent_day integer,                           -- days since 1970-01-01
    structure bytea NOT NULL,
    thread_id uuid NOT NULL,
    thread_keys bigint[] NOT NULL,
    preview text NOT NULL,
    all_uid bigint NOT NULL,
    entries integer NOT NULL,                   -- how many entries refer to it; never 0
    PRIMARY KEY (mailbox_id, email_id)
) WITH (fillfactor = 95);

CREATE TABLE mailstore.envelope (
    mailbox_id uuid NOT NULL,
    email_id uuid NOT NULL,
    envelope bytea NOT NULL,
    PRIMARY KEY (mailbox_id, email_id)
);

-- octets, internal_date and sent_day never change: repeated here so that a folder loads from this table alone.
-- No index on mod_seq: flag changes stay HOT updates; the change rows tell what changed.
CREATE TABLE mailstore.entry (
    mailbox_id uuid NOT NULL,
    folder_id integer NOT NULL,
    flags smallint NOT NULL,
    uid bigint NOT NULL,
    mod_seq bigint NOT NULL,
    save_date bigint NOT NULL,
    internal_date bigint NOT NULL,
    octets bigint NOT NULL,
    email_id uuid NOT NULL,
    sent_day integer,
    keywords text[],                            -- NULL: none; sorted by lower-case form
    PRIMARY KEY (mailbox_id, folder_id, uid)
) WITH (fillfactor = 80);

CREATE TABLE mailstore.change (
    mailbox_id uuid NOT NULL,
    folder_id integer NOT NULL,
    mod_seq bigint NOT NULL,
    kind smallint NOT NULL CHECK (kind IN (1, 2, 3)),   -- added, flags changed, vanished
    at_ms bigint NOT NULL,
    uids int8multirange NOT NULL,
    PRIMARY KEY (mailbox_id, folder_id, mod_seq, kind)
);

CREATE TABLE mailstore.operation (
    mailbox_id uuid NOT NULL,
    operation_key text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    folder_id integer NOT NULL,                 -- where the messages went
    uid_validity bigint NOT NULL,
    uid bigint NOT NULL,                        -- the first one allotted
    mod_seq bigint NOT NULL,
    sources int8multirange,                     -- NULL: an append
    PRIMARY KEY (mailbox_id, operation_key)
);

CREATE TABLE mailstore.thread_key (
    mailbox_id uuid NOT NULL,
    key_hash bigint NOT NULL,
    thread_id uuid NOT NULL,
    uses integer NOT NULL,                      -- messages that carry this key
    PRIMARY KEY (mailbox_id, key_hash)
) WITH (fillfactor = 80);

CREATE SEQUENCE mailstore.index_enqueue;

CREATE TABLE mailstore.index_pending (
    mailbox_id uuid NOT NULL,
    email_id uuid NOT NULL,
    enqueue bigint NOT NULL,                    -- grows with every enqueuing
    enqueued_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (mailbox_id, email_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX index_pending_due ON mailstore.index_pending (due_ms, enqueue);

CREATE TABLE mailstore.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms bigint NOT NULL,
    event bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
