-- A hold may be about a camera and a time alone, without an alert. SQLite cannot drop NOT NULL from a column, so the table
-- is made anew on both databases.
CREATE TABLE box_order_new (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,            -- bind, hold, release
    alert_id     TEXT REFERENCES alert (id),
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
INSERT INTO box_order_new SELECT id, kind, alert_id, office, box, about, note, account, at_ms, topic, body, asked_ms, answered_ms, ok, answer FROM box_order;
DROP TABLE box_order;
ALTER TABLE box_order_new RENAME TO box_order;
CREATE INDEX box_order_alert ON box_order (alert_id, at_ms);
CREATE INDEX box_order_waiting ON box_order (answered_ms, asked_ms);
CREATE INDEX box_order_camera ON box_order (office, box, about);
