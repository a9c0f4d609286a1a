-- Tables of the desk, in words that SQLite and PostgreSQL both understand: TEXT and BIGINT, times as UTC milliseconds,
-- yes and no as 1 and 0, JSON as TEXT. Nothing is deleted from business tables; corrections are rows of their own.

CREATE TABLE office (
    code     TEXT PRIMARY KEY,
    name_vi  TEXT NOT NULL,
    name_en  TEXT NOT NULL
);

CREATE TABLE box (
    office      TEXT NOT NULL,
    id          TEXT NOT NULL,
    online      BIGINT NOT NULL,
    changed_ms  BIGINT NOT NULL,       -- when `online` became what it is
    seen_ms     BIGINT NOT NULL,       -- last word of any kind
    birth       TEXT,                  -- as published
    PRIMARY KEY (office, id)
);

CREATE TABLE camera (
    office   TEXT NOT NULL,
    box      TEXT NOT NULL,
    id       TEXT NOT NULL,
    body     TEXT NOT NULL,            -- as published
    seen_ms  BIGINT NOT NULL,
    PRIMARY KEY (office, box, id)
);

-- Every message of a box, once.
CREATE TABLE message (
    source       TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    id           TEXT NOT NULL,
    revision     BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    office       TEXT NOT NULL,
    box          TEXT NOT NULL,
    severity     BIGINT NOT NULL,
    at_ms        BIGINT NOT NULL,      -- when it happened
    received_ms  BIGINT NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (source, epoch, seq),
    UNIQUE (source, id, revision)
);
CREATE INDEX message_id ON message (id);
CREATE INDEX message_at ON message (at_ms);

-- Messages that contradict others: the number, the revision or the id is used already. A box or a broker does what it must
-- not.
CREATE TABLE clash (
    source       TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    received_ms  BIGINT NOT NULL,
    body         TEXT NOT NULL
);

-- Highest number seen of each incarnation of a box.
CREATE TABLE stream (
    source   TEXT NOT NULL,
    epoch    BIGINT NOT NULL,
    office   TEXT NOT NULL,
    box      TEXT NOT NULL,
    high     BIGINT NOT NULL,
    PRIMARY KEY (source, epoch)
);

-- Numbers not seen below it.
CREATE TABLE gap (
    source    TEXT NOT NULL,
    epoch     BIGINT NOT NULL,
    from_seq  BIGINT NOT NULL,
    to_seq    BIGINT NOT NULL,
    found_ms  BIGINT NOT NULL,
    asked_ms  BIGINT,
    tries     BIGINT NOT NULL,
    lost      BIGINT NOT NULL,         -- 1 = the box has them no more
    PRIMARY KEY (source, epoch, from_seq)
);

CREATE TABLE picture (
    event_id     TEXT NOT NULL,
    sha256       TEXT NOT NULL,        -- of the file of this name
    bytes        BIGINT NOT NULL,
    received_ms  BIGINT NOT NULL,
    PRIMARY KEY (event_id, sha256)
);
CREATE INDEX picture_sha ON picture (sha256);

-- Declarations an event belongs or may belong to, as its newest message says.
CREATE TABLE event_link (
    event_id    TEXT NOT NULL,
    decl_key    TEXT NOT NULL,
    office      TEXT NOT NULL,
    at_ms       BIGINT NOT NULL,
    state       TEXT NOT NULL,
    method      TEXT NOT NULL,
    permille    BIGINT NOT NULL,       -- confidence
    channel     BIGINT,
    PRIMARY KEY (event_id, decl_key)
);
CREATE INDEX event_link_decl ON event_link (decl_key, at_ms);

CREATE TABLE alert (
    id            TEXT PRIMARY KEY,    -- of the event or notice
    office        TEXT NOT NULL,
    box           TEXT NOT NULL,
    camera        TEXT NOT NULL,
    place         TEXT NOT NULL,       -- area, in words of the box
    rule          TEXT NOT NULL,
    severity      BIGINT NOT NULL,
    revision      BIGINT NOT NULL,     -- of the message in `body`
    phase         TEXT NOT NULL,
    at_ms         BIGINT NOT NULL,     -- when it happened
    opened_ms     BIGINT NOT NULL,     -- when the desk heard, or heard again after it was closed
    duty_day      TEXT NOT NULL,
    historical    BIGINT NOT NULL,
    group_key     TEXT NOT NULL,
    picture       TEXT,                -- digest the newest message names
    search        TEXT NOT NULL,       -- folded: lower case, no diacritics
    body          TEXT NOT NULL,       -- newest message
    state         TEXT NOT NULL,
    outcome       TEXT,
    escalated_ms  BIGINT,
    asked_by      TEXT,                -- who asked for a dismissal that needs a second person
    closed_ms     BIGINT,
    version       BIGINT NOT NULL
);
CREATE INDEX alert_at ON alert (at_ms);
CREATE INDEX alert_state ON alert (state, opened_ms);

CREATE TABLE alert_action (
    id        TEXT PRIMARY KEY,
    alert_id  TEXT NOT NULL REFERENCES alert (id),
    at_ms     BIGINT NOT NULL,
    account   TEXT NOT NULL,           -- empty = the desk itself
    action    TEXT NOT NULL,
    reason    TEXT NOT NULL,
    note      TEXT NOT NULL
);
CREATE INDEX alert_action_alert ON alert_action (alert_id, at_ms);

CREATE TABLE account (
    name         TEXT PRIMARY KEY,
    display      TEXT NOT NULL,
    password     TEXT NOT NULL,        -- argon2id, PHC string
    must_change  BIGINT NOT NULL,
    role         TEXT NOT NULL,
    offices      TEXT NOT NULL,        -- '*' or ',15BB,15BC,'
    disabled     BIGINT NOT NULL,
    created_ms   BIGINT NOT NULL
);

CREATE TABLE session (
    token_sha256  TEXT PRIMARY KEY,
    account       TEXT NOT NULL REFERENCES account (name),
    csrf          TEXT NOT NULL,
    created_ms    BIGINT NOT NULL,
    seen_ms       BIGINT NOT NULL
);

-- Who saw, decided or exported what, each row over the one before.
CREATE TABLE audit (
    seq        BIGINT PRIMARY KEY,
    at_ms      BIGINT NOT NULL,
    account    TEXT NOT NULL,
    office     TEXT NOT NULL,
    action     TEXT NOT NULL,
    object     TEXT NOT NULL,
    detail     TEXT NOT NULL,
    prev_hash  TEXT NOT NULL,
    hash       TEXT NOT NULL
);
CREATE INDEX audit_account ON audit (account, seq);
CREATE INDEX audit_object ON audit (object, seq);

CREATE TABLE counter (
    name   TEXT PRIMARY KEY,
    value  BIGINT NOT NULL
);

CREATE TABLE tip (
    id            TEXT PRIMARY KEY,
    number        TEXT NOT NULL UNIQUE,    -- unit/year/serial
    unit          TEXT NOT NULL,           -- that issues it
    office        TEXT NOT NULL,           -- that checks it
    alert_id      TEXT REFERENCES alert (id),
    decl_key      TEXT,
    containers    TEXT NOT NULL,           -- between commas
    plates        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    suspicion     TEXT NOT NULL,
    from_ms       BIGINT,                  -- time the footage is wanted for
    to_ms         BIGINT,
    due_ms        BIGINT,
    state         TEXT NOT NULL,
    version       BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    created_ms    BIGINT NOT NULL,
    issued_ms     BIGINT,
    received_ms   BIGINT,
    reported_ms   BIGINT,
    settled_ms    BIGINT,
    closed_ms     BIGINT,                  -- cancelled or merged
    result        TEXT,
    result_text   TEXT NOT NULL,
    basis         TEXT NOT NULL,           -- legal basis
    no_amount     BIGINT NOT NULL,
    merged_into   TEXT REFERENCES tip (id),
    search        TEXT NOT NULL
);
CREATE INDEX tip_decl ON tip (decl_key);
CREATE INDEX tip_issued ON tip (issued_ms);

CREATE TABLE tip_action (
    id       TEXT PRIMARY KEY,
    tip_id   TEXT NOT NULL REFERENCES tip (id),
    at_ms    BIGINT NOT NULL,
    account  TEXT NOT NULL,
    action   TEXT NOT NULL,
    note     TEXT NOT NULL
);
CREATE INDEX tip_action_tip ON tip_action (tip_id, at_ms);

CREATE TABLE tip_sample (
    id         TEXT PRIMARY KEY,
    tip_id     TEXT NOT NULL REFERENCES tip (id),
    code       TEXT NOT NULL,
    seal       TEXT NOT NULL,
    lab        TEXT NOT NULL,
    taken_ms   BIGINT NOT NULL,
    result     TEXT NOT NULL,
    result_ms  BIGINT
);

CREATE TABLE tip_money (
    id           TEXT PRIMARY KEY,
    tip_id       TEXT NOT NULL REFERENCES tip (id),
    kind         TEXT NOT NULL,            -- recovery, fine, other
    amount_vnd   BIGINT NOT NULL,          -- negative only where it reverses another entry
    decision     TEXT NOT NULL,
    decl_key     TEXT,                     -- may be an earlier declaration
    at_ms        BIGINT NOT NULL,
    account      TEXT NOT NULL,
    reverses     TEXT UNIQUE REFERENCES tip_money (id)
);
CREATE INDEX tip_money_tip ON tip_money (tip_id, at_ms);

-- What boxes answer about a tip: correlations, holds, coverage. Newest word of each.
CREATE TABLE tip_answer (
    tip_id   TEXT NOT NULL,
    source   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (tip_id, source, kind, id)
);

-- What the desk has to publish; a row stays until the broker acknowledged it.
CREATE TABLE outgoing (
    id           TEXT PRIMARY KEY,
    topic        TEXT NOT NULL,
    payload      TEXT NOT NULL,
    reply_topic  TEXT NOT NULL,            -- empty = none wanted
    correlation  TEXT NOT NULL,
    queued_ms    BIGINT NOT NULL,
    sent_ms      BIGINT
);
CREATE INDEX outgoing_waiting ON outgoing (sent_ms, queued_ms);

CREATE TABLE report_snapshot (
    id          TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    query       TEXT NOT NULL,             -- period, unit and view, as in the address of the page
    printed_ms  BIGINT NOT NULL,
    account     TEXT NOT NULL,
    figures     TEXT NOT NULL
);
