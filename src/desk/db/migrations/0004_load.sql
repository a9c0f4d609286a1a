-- Looking every second for what is due must not read all alerts that are open.
DROP INDEX alert_state;
CREATE INDEX alert_waiting ON alert (state, historical, escalated_ms, severity, opened_ms);
CREATE INDEX alert_day ON alert (state, duty_day);
