-- When the word came by which a box turned online, by the desk's clock: the box's own may be behind.
ALTER TABLE box ADD COLUMN came_ms BIGINT;
