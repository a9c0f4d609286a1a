-- When the box itself last said something, heard as it was said: not what lay at the broker, nor the broker's word that it is gone.
ALTER TABLE box ADD COLUMN heard_ms BIGINT;
-- When its retained state was taken from the broker: it is out of use until it says something again.
ALTER TABLE box ADD COLUMN gone_ms BIGINT;

-- Outages of boxes that were told, each with its alert.
CREATE TABLE box_outage (
    alert_id  TEXT PRIMARY KEY REFERENCES alert (id),
    office    TEXT NOT NULL,
    box       TEXT NOT NULL,
    from_ms   BIGINT NOT NULL,         -- it went offline, or gave its last sign
    to_ms     BIGINT,                  -- it is back, or nobody waits for it any more
    rang_ms   BIGINT                   -- when it sounded; NULL = it did not
);
CREATE UNIQUE INDEX box_outage_lasts ON box_outage (office, box) WHERE to_ms IS NULL;
CREATE INDEX box_outage_rang ON box_outage (office, rang_ms);
