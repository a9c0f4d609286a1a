-- Messages about the box itself that last: the latest one of each that has begun and not ended.
CREATE TABLE open_notice (
    notice_id  TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL REFERENCES message (seq)
) STRICT;
CREATE INDEX open_notice_seq ON open_notice (seq);

-- Recorded footage, a file each. Times are capture times, UTC.
CREATE TABLE segment (
    id               INTEGER PRIMARY KEY,
    camera           TEXT NOT NULL,
    stream           TEXT NOT NULL,            -- 'main' or 'sub'
    path             TEXT NOT NULL UNIQUE,     -- relative to the footage folder
    codec            TEXT NOT NULL,
    start_ms         INTEGER NOT NULL,         -- first picture
    end_ms           INTEGER NOT NULL,         -- end of the last picture
    bytes            INTEGER NOT NULL,
    pictures         INTEGER NOT NULL,
    sha256           TEXT,                     -- NULL while it is written
    gap_before_ms    INTEGER NOT NULL,         -- 0 = follows the one before
    time_source      TEXT NOT NULL,
    clock_offset_ms  INTEGER,
    class            TEXT NOT NULL CHECK (class IN ('ring', 'event')),
    state            TEXT NOT NULL CHECK (state IN ('writing', 'kept', 'expired', 'lost'))
) STRICT;
CREATE INDEX segment_time ON segment (camera, stream, start_ms);

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

-- When a camera's area was really watched, and why not. Box time.
CREATE TABLE coverage (
    id           INTEGER PRIMARY KEY,
    camera       TEXT NOT NULL,
    area         TEXT NOT NULL,                -- '' = the whole picture
    from_ms      INTEGER NOT NULL,
    to_ms        INTEGER NOT NULL,
    watched      INTEGER NOT NULL,             -- 1 = analysed, 0 = a gap
    reason       TEXT,                         -- of a gap
    interval_ms  INTEGER                       -- longest time between analysed pictures
) STRICT;
CREATE INDEX coverage_time ON coverage (camera, area, from_ms);
