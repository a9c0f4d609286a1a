-- When an alert came, or came again, decides when the duty day is over for it: not the day on which it happened.
DROP INDEX alert_day;
CREATE INDEX alert_opened ON alert (state, opened_ms);
-- The tips that were raised from an alert, looked for when its box says something new.
CREATE INDEX tip_alert ON tip (alert_id);
