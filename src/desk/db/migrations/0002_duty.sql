-- Orders to boxes, heads of their chains, bays, shifts; and what several workers on one database need.

-- Every transaction that writes first counts this up: PostgreSQL then lets one writer at a time go on, whichever process it
-- is in, and what it changes can be numbered.
INSERT INTO counter (name, value) VALUES ('writer', 0);

-- Number of the transaction that changed an alert last, and of the one since which it is worth a sound.
ALTER TABLE alert ADD COLUMN touched BIGINT NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN rang BIGINT NOT NULL DEFAULT 0;
CREATE INDEX alert_touched ON alert (touched);
CREATE INDEX alert_rang ON alert (rang);
CREATE INDEX alert_count ON alert (state, severity, office);

-- Which of several workers does what only one may do.
CREATE TABLE lease (
    name      TEXT PRIMARY KEY,
    holder    TEXT NOT NULL,
    until_ms  BIGINT NOT NULL
);

-- What somebody asked of a box about an alert, and what the box answered. Only the answer is ever written into a row.
CREATE TABLE box_order (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,            -- bind, hold, release
    alert_id     TEXT NOT NULL REFERENCES alert (id),
    office       TEXT NOT NULL,
    box          TEXT NOT NULL,
    about        TEXT NOT NULL,            -- declaration of a binding, camera of a hold, hold of a release
    note         TEXT NOT NULL,
    account      TEXT NOT NULL,
    at_ms        BIGINT NOT NULL,
    topic        TEXT NOT NULL,
    body         TEXT NOT NULL,
    asked_ms     BIGINT NOT NULL,          -- last time
    answered_ms  BIGINT,                   -- its last word came; a hold whose time is not over has none yet
    ok           BIGINT,
    answer       TEXT
);
CREATE INDEX box_order_alert ON box_order (alert_id, at_ms);
CREATE INDEX box_order_waiting ON box_order (answered_ms, asked_ms);

-- Every head of a chain that a box published, also those that do not fit.
CREATE TABLE chain_head (
    source       TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    n            BIGINT NOT NULL,
    sha256       TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    at_ms        BIGINT NOT NULL,
    signer       TEXT NOT NULL,            -- public key
    signature    TEXT NOT NULL,
    received_ms  BIGINT NOT NULL,
    fault        TEXT,
    PRIMARY KEY (source, epoch, n, sha256, seq)
);
CREATE INDEX chain_head_seq ON chain_head (source, epoch, seq);

-- Where the chain of a box ends as far as the desk knows, and the first thing that did not fit.
CREATE TABLE chain_state (
    source    TEXT PRIMARY KEY,
    office    TEXT NOT NULL,
    box       TEXT NOT NULL,
    epoch     BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    sha256    TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    at_ms     BIGINT NOT NULL,
    signer    TEXT NOT NULL,
    heads     BIGINT NOT NULL,             -- that fitted
    fault     TEXT,
    fault_ms  BIGINT
);

-- An inspection bay as the newest word about it says.
CREATE TABLE bay (
    office       TEXT NOT NULL,
    box          TEXT NOT NULL,
    area         TEXT NOT NULL,
    name         TEXT NOT NULL,
    event_id     TEXT,                     -- that occupies it; empty bay without
    since_ms     BIGINT NOT NULL,          -- occupied or empty since
    epoch        BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    body         TEXT NOT NULL,            -- that word
    PRIMARY KEY (office, box, area)
);

CREATE TABLE shift (
    id          TEXT PRIMARY KEY,
    unit        TEXT NOT NULL,
    duty_day    TEXT NOT NULL,
    from_ms     BIGINT NOT NULL,
    to_ms       BIGINT NOT NULL,
    leader      TEXT NOT NULL REFERENCES account (name),
    focus       TEXT NOT NULL,
    version     BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    created_ms  BIGINT NOT NULL
);
CREATE INDEX shift_day ON shift (duty_day, from_ms);

CREATE TABLE shift_member (
    shift_id  TEXT NOT NULL REFERENCES shift (id),
    place     BIGINT NOT NULL,
    name      TEXT NOT NULL,
    duty      TEXT NOT NULL,
    PRIMARY KEY (shift_id, place)
);

-- A hand-over: what was open when the one who leaves signed, and the two signatures. Never changed once both are there.
CREATE TABLE handover (
    id             TEXT PRIMARY KEY,
    shift_id       TEXT NOT NULL REFERENCES shift (id),
    to_shift_id    TEXT REFERENCES shift (id),
    items          TEXT NOT NULL,
    note           TEXT NOT NULL,
    sha256         TEXT NOT NULL,          -- of items and note: what is signed
    given_by       TEXT NOT NULL REFERENCES account (name),
    given_ms       BIGINT NOT NULL,
    taken_by       TEXT REFERENCES account (name),
    taken_ms       BIGINT,
    taken_note     TEXT NOT NULL,
    refused        BIGINT NOT NULL         -- 1 = sent back with taken_note
);
CREATE INDEX handover_shift ON handover (shift_id, given_ms);
