-- How much of each duty day a camera's pictures were analysed, as its box said at full hours. Hours of which nothing was heard are not
-- in it.
CREATE TABLE camera_day (
    duty_day  TEXT NOT NULL,
    office    TEXT NOT NULL,
    box       TEXT NOT NULL,
    camera    TEXT NOT NULL,
    hours     BIGINT NOT NULL,         -- of which the box said it
    permille  BIGINT NOT NULL,         -- their sum
    hour_ms   BIGINT NOT NULL,         -- end of the newest of them
    PRIMARY KEY (duty_day, office, box, camera)
);

-- Type code of a declaration, so that reports need not read what was said of all of them; '' = it has none, NULL = kept by an older desk.
ALTER TABLE fact ADD COLUMN type_code TEXT;
