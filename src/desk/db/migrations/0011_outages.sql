-- When the box itself last said something, heard as it was said: not what lay at the broker, nor the broker's word that it is gone.
ALTER TABLE box ADD COLUMN heard_ms BIGINT;

-- Outages of boxes that were told, each with its alert.
CREATE TABLE box_outage (
    alert_id  TEXT PRIMARY KEY REFERENCES alert (id),
    office    TEXT NOT NULL,
    box       TEXT NOT NULL,
    from_ms   BIGINT NOT NULL,         -- it went offline, or gave its last sign
    to_ms     BIGINT                   -- it is back
);
CREATE UNIQUE INDEX box_outage_lasts ON box_outage (office, box) WHERE to_ms IS NULL;
