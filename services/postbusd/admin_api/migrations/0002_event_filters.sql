-- The event log by domain and by mailbox; times follow the sequence closely, so that a block range index serves them.

CREATE INDEX event_domain ON admin.event (domain, sequence) WHERE domain <> '';
CREATE INDEX event_mailbox ON admin.event (mailbox, sequence) WHERE mailbox <> '';
CREATE INDEX event_at_ms ON admin.event USING brin (at_ms);
