-- What forward_paths led to when delivery had to resolve them itself: every later pass follows it, whatever the
-- directory says by then (architecture §3.5). Not needed where smtp-edge resolved: there it travels in the envelope.

CREATE TABLE delivery.expansion (
    queue_id text COLLATE "C" PRIMARY KEY,
    resolutions bytea NOT NULL,                  -- msgpack of a tuple of Resolution
    pinned_ms bigint NOT NULL
);
CREATE INDEX expansion_pinned_ms ON delivery.expansion (pinned_ms);

GRANT SELECT, INSERT, DELETE ON delivery.expansion TO postbus_delivery;
