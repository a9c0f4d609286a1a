-- Files that belong to a tip: decisions, records, results. One that was withdrawn stays, with who, when and why.
CREATE TABLE tip_file (
    id            TEXT PRIMARY KEY,
    tip_id        TEXT NOT NULL REFERENCES tip (id),
    name          TEXT NOT NULL,
    kind          TEXT NOT NULL,           -- pdf, jpg, png: by its first bytes
    bytes         BIGINT NOT NULL,
    sha256        TEXT NOT NULL,
    note          TEXT NOT NULL,
    account       TEXT NOT NULL,
    at_ms         BIGINT NOT NULL,
    withdrawn_ms  BIGINT,
    withdrawn_by  TEXT,
    withdrawn_why TEXT
);
CREATE INDEX tip_file_tip ON tip_file (tip_id, at_ms);

-- What is in them, apart, so that a list does not read it. Base64: both databases have one word for text and none for bytes.
CREATE TABLE tip_file_content (
    file_id  TEXT PRIMARY KEY REFERENCES tip_file (id),
    base64   TEXT NOT NULL
);
