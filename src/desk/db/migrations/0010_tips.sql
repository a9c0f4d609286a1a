-- What is asked for or done about a tip, and what became of it. A stop of its goods stands until it is done.
CREATE TABLE tip_measure (
    id        TEXT PRIMARY KEY,
    tip_id    TEXT NOT NULL REFERENCES tip (id),
    action    TEXT NOT NULL,
    note      TEXT NOT NULL,
    account   TEXT NOT NULL,
    at_ms     BIGINT NOT NULL,
    done_by   TEXT,
    done_ms   BIGINT,
    outcome   TEXT NOT NULL
);
CREATE INDEX tip_measure_tip ON tip_measure (tip_id, at_ms);

-- An order may be about a tip: a stop of its goods, or a hold that it placed.
ALTER TABLE box_order ADD COLUMN tip_id TEXT;
CREATE INDEX box_order_tip ON box_order (tip_id, at_ms);

-- How much footage a box found for a tip, for reports: complete, partial, none.
ALTER TABLE tip_answer ADD COLUMN footage TEXT;

-- Offices that printed figures are of, as in an account; empty = printed by an older desk, which did not say.
ALTER TABLE report_snapshot ADD COLUMN scope TEXT NOT NULL DEFAULT '';

-- Names of an office as people search them.
ALTER TABLE office ADD COLUMN search TEXT NOT NULL DEFAULT '';

CREATE INDEX alert_duty_day ON alert (duty_day);
