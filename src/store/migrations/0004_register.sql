-- Facts of all kinds: the list of kinds is the program's business now.
CREATE TABLE fact_all (
    id        INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL,
    version   INTEGER NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('current', 'superseded', 'stale', 'conflict')),
    body      TEXT NOT NULL,
    heard_ms  INTEGER NOT NULL
) STRICT;
INSERT INTO fact_all (id, kind, key, version, state, body, heard_ms)
    SELECT id, kind, key, version, state, body, heard_ms FROM fact;
DROP TABLE fact;
ALTER TABLE fact_all RENAME TO fact;
CREATE UNIQUE INDEX fact_current ON fact (kind, key) WHERE state = 'current';
-- The same lost message sent again and again is one row.
CREATE UNIQUE INDEX fact_lost ON fact (kind, key, version, body) WHERE state IN ('stale', 'conflict');
CREATE INDEX fact_heard ON fact (kind, heard_ms) WHERE state = 'current';

-- What facts in force can be found by: decl:…, container:…, plate:…, area:… At most a few rows a fact.
CREATE TABLE fact_handle (
    handle  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    PRIMARY KEY (handle, kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX fact_handle_fact ON fact_handle (kind, key);

-- Where and when each event was, with its latest message. Written with the message; outlives it, so that "nothing happened"
-- never only means "forgotten".
CREATE TABLE event_place (
    event_id  TEXT PRIMARY KEY,
    seq       INTEGER NOT NULL,
    camera    TEXT NOT NULL,
    area      TEXT NOT NULL,
    rule      TEXT NOT NULL,
    severity  INTEGER NOT NULL,                 -- the highest so far
    start_ms  INTEGER NOT NULL,
    end_ms    INTEGER                           -- NULL while it lasts
) STRICT, WITHOUT ROWID;
CREATE INDEX event_place_area ON event_place (area, start_ms);
CREATE INDEX event_place_camera ON event_place (camera, start_ms);
CREATE INDEX event_place_end ON event_place (camera, end_ms);

-- From a declaration to the events that name it. A link that a later revision no longer has is superseded, not gone.
CREATE TABLE event_link (
    decl_key    TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    container   TEXT,                           -- the one that was read
    method      TEXT NOT NULL,
    confidence  REAL NOT NULL,
    state       TEXT NOT NULL,                  -- linked, proposed, ambiguous, confirmed, superseded
    PRIMARY KEY (decl_key, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_link_event ON event_link (event_id);

-- What was found about each tip, as last published.
CREATE TABLE correlation (
    tip_id     TEXT PRIMARY KEY,
    notice_id  TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    body       TEXT NOT NULL,
    at_ms      INTEGER NOT NULL
) STRICT;

-- Moments that outlive a restart, by name.
CREATE TABLE moment (
    name   TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL
) STRICT;
