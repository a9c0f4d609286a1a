-- When the store of a box was made, as the box said when it connected last: another box in its place has another store.
ALTER TABLE box ADD COLUMN epoch BIGINT;
-- Which store was asked, or answered; NULL = an older desk asked, or the box did not say.
ALTER TABLE box_order ADD COLUMN epoch BIGINT;
