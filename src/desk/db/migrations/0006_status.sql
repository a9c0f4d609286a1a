-- What a box said of itself last, as published.
ALTER TABLE box ADD COLUMN status TEXT;
-- When that was so, by the desk's clock where it was heard as it was said, by the box's where it lay at the broker.
ALTER TABLE box ADD COLUMN status_ms BIGINT;
-- The box's clock minus the desk's then; NULL where it lay at the broker.
ALTER TABLE box ADD COLUMN clock_ms BIGINT;
