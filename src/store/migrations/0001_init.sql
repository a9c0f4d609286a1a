-- One row: what must never be lost or counted twice.
CREATE TABLE meta (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    epoch         INTEGER NOT NULL,           -- unix seconds when this store was made
    session       INTEGER NOT NULL,           -- starts so far
    last_seq      INTEGER NOT NULL,
    outbox_rows   INTEGER NOT NULL,           -- kept by triggers
    outbox_bytes  INTEGER NOT NULL,           -- kept by triggers
    closed        INTEGER NOT NULL,           -- 1 = last stop was orderly
    last_feed_ms  INTEGER
) STRICT;

-- Every message ever sent or to be sent, until it is pruned from the old end. No holes in seq.
CREATE TABLE message (
    seq                 INTEGER PRIMARY KEY,
    event_id            TEXT NOT NULL,
    revision            INTEGER NOT NULL,
    kind                TEXT NOT NULL,        -- CloudEvents type
    subject             TEXT NOT NULL,
    severity            INTEGER NOT NULL,
    rule                TEXT,                 -- the next four are NULL for messages about the box itself
    phase               TEXT,
    verdict             TEXT,
    method              TEXT,
    topic               TEXT NOT NULL,
    payload             TEXT NOT NULL,        -- as recorded, historical = false
    best_ms             INTEGER NOT NULL,     -- capture time, for the live limit
    recorded_ms         INTEGER NOT NULL,
    frame_to_stored_ms  INTEGER,
    frame_to_acked_ms   INTEGER,
    acked_ms            INTEGER,
    UNIQUE (event_id, revision)
) STRICT;
CREATE INDEX message_recorded ON message (recorded_ms);

-- Files of a message. Outlives the message row: pictures are kept longer.
CREATE TABLE picture (
    seq               INTEGER PRIMARY KEY,
    best_ms           INTEGER NOT NULL,
    topic             TEXT NOT NULL,
    clean_path        TEXT NOT NULL,          -- relative to the store's folder
    clean_sha256      TEXT NOT NULL,
    annotated_path    TEXT NOT NULL,
    annotated_sha256  TEXT NOT NULL,
    annotated_bytes   INTEGER NOT NULL
) STRICT;
CREATE INDEX picture_best ON picture (best_ms);

-- Events that have begun and not ended, with their latest message.
CREATE TABLE open_event (
    event_id  TEXT PRIMARY KEY,
    seq       INTEGER NOT NULL REFERENCES message (seq)
) STRICT;
CREATE INDEX open_event_seq ON open_event (seq);

-- What the broker has not acknowledged. part 0 = picture, 1 = message; the picture has the smaller id.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    seq        INTEGER NOT NULL REFERENCES message (seq),
    part       INTEGER NOT NULL CHECK (part IN (0, 1)),
    lane       INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    queued_ms  INTEGER NOT NULL,
    replay     INTEGER NOT NULL,
    UNIQUE (seq, part)
) STRICT;
CREATE INDEX outbox_order ON outbox (lane, id);

CREATE TRIGGER outbox_added AFTER INSERT ON outbox BEGIN
    UPDATE meta SET outbox_rows = outbox_rows + 1, outbox_bytes = outbox_bytes + NEW.bytes;
END;
CREATE TRIGGER outbox_removed AFTER DELETE ON outbox BEGIN
    UPDATE meta SET outbox_rows = outbox_rows - 1, outbox_bytes = outbox_bytes - OLD.bytes;
END;

-- What could never be sent, and why.
CREATE TABLE refused (
    seq    INTEGER NOT NULL,
    part   INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    why    TEXT NOT NULL,
    PRIMARY KEY (seq, part)
) STRICT;

-- What the clearance side said. One row in force per key; what lost is kept for people.
CREATE TABLE fact (
    id        INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN ('declaration', 'booking')),
    key       TEXT NOT NULL,
    version   INTEGER NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('current', 'superseded', 'stale', 'conflict')),
    body      TEXT NOT NULL,
    heard_ms  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX fact_current ON fact (kind, key) WHERE state = 'current';
-- The same lost message sent again and again is one row.
CREATE UNIQUE INDEX fact_lost ON fact (kind, key, version, body) WHERE state IN ('stale', 'conflict');
