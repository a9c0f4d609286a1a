-- Pictures whose files could not be written yet: the folder was full, might not be written or did not answer. Base64: both databases
-- have one word for text and none for bytes.
CREATE TABLE picture_aside (
    event_id TEXT NOT NULL,
    sha256   TEXT NOT NULL,
    base64   TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (event_id, sha256)
);
CREATE INDEX picture_aside_at ON picture_aside (at_ms);
