-- The hash chain of the box, see docs/evidence.md for the bytes. Appended in the transaction of what it is about.
CREATE TABLE chain (
    n            INTEGER PRIMARY KEY,      -- 1, 2, 3 … without holes
    at_ms        INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    ref          TEXT NOT NULL,
    item_sha256  BLOB NOT NULL CHECK (length(item_sha256) = 32),
    prev_sha256  BLOB NOT NULL CHECK (length(prev_sha256) = 32),
    sha256       BLOB NOT NULL CHECK (length(sha256) = 32),
    item         TEXT                      -- NULL for messages: they stand in message until they are pruned
) STRICT;
CREATE INDEX chain_ref ON chain (kind, ref);

-- No statement of ours changes the past; one that tries is a mistake.
CREATE TRIGGER chain_not_changed BEFORE UPDATE ON chain BEGIN
    SELECT RAISE(ABORT, 'the chain is only appended to');
END;
CREATE TRIGGER chain_not_deleted BEFORE DELETE ON chain BEGIN
    SELECT RAISE(ABORT, 'the chain is only appended to');
END;

-- Ends of the chain that were signed.
CREATE TABLE chain_head (
    n          INTEGER PRIMARY KEY REFERENCES chain (n),
    at_ms      INTEGER NOT NULL,
    key        BLOB NOT NULL CHECK (length(key) = 32),
    signature  BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;

-- Messages that were pruned from the stream while a hold needed them.
CREATE TABLE kept_message (
    seq          INTEGER PRIMARY KEY,
    event_id     TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    best_ms      INTEGER NOT NULL,
    recorded_ms  INTEGER NOT NULL,
    payload      TEXT NOT NULL,
    UNIQUE (event_id, revision)
) STRICT;

CREATE INDEX message_best ON message (best_ms);
CREATE INDEX message_tip ON message (subject) WHERE subject LIKE 'tip/%';
