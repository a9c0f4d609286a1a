-- The greatest severity that was said of an event: which clips are worth keeping outside the box.
ALTER TABLE footage_event ADD COLUMN severity INTEGER NOT NULL DEFAULT 0;

-- 1 = each clip of it lies in the store of objects, or never will. Only those that are not are looked through.
ALTER TABLE footage_event ADD COLUMN clips_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hold ADD COLUMN clips_done INTEGER NOT NULL DEFAULT 0;
CREATE INDEX footage_event_clips ON footage_event (severity, to_ms) WHERE ended = 1 AND clips_done = 0;
CREATE INDEX hold_clips ON hold (from_ms) WHERE released_ms IS NULL AND clips_done = 0;

-- Clips that lie in the store of objects, or never will: an event or a hold is one or several.
CREATE TABLE stored_clip (
    kind     TEXT NOT NULL CHECK (kind IN ('event', 'hold')),
    id       TEXT NOT NULL,
    from_ms  INTEGER NOT NULL,
    to_ms    INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,                 -- when that was found
    why_not  TEXT,                             -- NULL = it is there
    PRIMARY KEY (kind, id, from_ms, to_ms)
) STRICT;
