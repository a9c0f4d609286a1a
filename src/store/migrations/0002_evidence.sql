-- Messages about the box itself that last: the latest one of each that has begun and not ended.
CREATE TABLE open_notice (
    notice_id  TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL REFERENCES message (seq)
) STRICT;
CREATE INDEX open_notice_seq ON open_notice (seq);

-- Recorded footage, a file each. Times are capture times, UTC. What is gone stays as a row for an answer: neighbours of
-- one hour become one row, and its path is no file's.
CREATE TABLE segment (
    id               INTEGER PRIMARY KEY,
    camera           TEXT NOT NULL,
    stream           TEXT NOT NULL,            -- 'main': one stream of each camera is recorded
    path             TEXT NOT NULL UNIQUE,     -- relative to the footage folder
    codec            TEXT NOT NULL,
    width            INTEGER NOT NULL,
    height           INTEGER NOT NULL,
    start_ms         INTEGER NOT NULL,         -- first picture
    end_ms           INTEGER NOT NULL,         -- end of the last picture; while it is written, of the first
    bytes            INTEGER NOT NULL,
    pictures         INTEGER NOT NULL,
    sha256           TEXT,                     -- NULL while it is written
    gap_before_ms    INTEGER,                  -- 0 = follows the one before; NULL = nothing is known of what was before
    gap_reason       TEXT,
    dropped          INTEGER NOT NULL,         -- pictures dropped in front because the disk was behind
    time_source      TEXT NOT NULL,
    uncertainty_ms   INTEGER NOT NULL,
    clock_offset_ms  INTEGER,
    class            TEXT NOT NULL CHECK (class IN ('ring', 'event')),
    state            TEXT NOT NULL CHECK (state IN ('writing', 'kept', 'damaged', 'expired', 'lost')),
    gone_ms          INTEGER,                  -- when it was deleted or missed
    gone_why         TEXT
) STRICT;
CREATE INDEX segment_time ON segment (camera, stream, start_ms);
CREATE INDEX segment_age ON segment (class, state, start_ms, bytes);

-- What each event wants kept: its time with pre- and post-roll.
CREATE TABLE footage_event (
    event_id  TEXT PRIMARY KEY,
    camera    TEXT NOT NULL,
    from_ms   INTEGER NOT NULL,
    to_ms     INTEGER NOT NULL,
    ended     INTEGER NOT NULL
) STRICT;
CREATE INDEX footage_event_time ON footage_event (camera, to_ms);

-- Footage that no clean-up may delete.
CREATE TABLE hold (
    id           TEXT PRIMARY KEY,
    camera       TEXT NOT NULL,
    from_ms      INTEGER NOT NULL,
    to_ms        INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    tip_id       TEXT,
    event_id     TEXT,
    placed_by    TEXT NOT NULL,
    placed_ms    INTEGER NOT NULL,
    state        TEXT NOT NULL DEFAULT 'requested'
                 CHECK (state IN ('requested', 'applied', 'partly', 'failed')),
    gaps         TEXT NOT NULL DEFAULT '[]',   -- [[from, to]], unix milliseconds
    released_ms  INTEGER,                      -- NULL = in force
    released_by  TEXT,
    release_why  TEXT
) STRICT;
CREATE INDEX hold_camera ON hold (camera, from_ms) WHERE released_ms IS NULL;
CREATE INDEX hold_tip ON hold (tip_id) WHERE tip_id IS NOT NULL;

-- When a camera was really watched, and why not. Capture times; what is `areas` in `coverage/mod.rs`.
CREATE TABLE coverage (
    camera       TEXT NOT NULL,
    session      INTEGER NOT NULL,             -- run of the agent
    number       INTEGER NOT NULL,             -- counts the intervals of a camera in a session
    from_ms      INTEGER NOT NULL,
    to_ms        INTEGER NOT NULL,
    reason       TEXT,                         -- of a gap; NULL = watched
    interval_ms  INTEGER NOT NULL,             -- longest time between two analysed pictures
    pictures     INTEGER NOT NULL,             -- analysed
    areas        TEXT NOT NULL,                -- JSON: how each area and line was seen then
    PRIMARY KEY (camera, session, number)
) STRICT;
CREATE INDEX coverage_time ON coverage (camera, to_ms);
