-- What a tip calls for: 'new' = to be received, 'returned' = to be checked again; and whose step that was.
ALTER TABLE tip ADD COLUMN called TEXT NOT NULL DEFAULT '';
ALTER TABLE tip ADD COLUMN called_by TEXT NOT NULL DEFAULT '';
-- Number of the transaction that changed a tip last, and of the one since which it is worth a notice and a sound.
ALTER TABLE tip ADD COLUMN touched BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tip ADD COLUMN rang BIGINT NOT NULL DEFAULT 0;
-- When leaders were told that it was not received in time, and by which transaction: what it calls for stays beside that.
ALTER TABLE tip ADD COLUMN late_ms BIGINT;
ALTER TABLE tip ADD COLUMN late_rang BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tip_touched ON tip (touched);
CREATE INDEX tip_rang ON tip (rang);
CREATE INDEX tip_late_rang ON tip (late_rang);
CREATE INDEX tip_state ON tip (state, issued_ms);
