-- What the clearance side says of declarations, bookings and stop orders, by the office whose topic it came on: every version
-- once, the one in force marked.
CREATE TABLE fact (
    office      TEXT NOT NULL,             -- of the topic
    kind        TEXT NOT NULL,             -- declaration, booking, stop
    key         TEXT NOT NULL,
    version     BIGINT NOT NULL,
    sha256      TEXT NOT NULL,             -- of what it says of the thing itself
    state       TEXT NOT NULL,             -- current, superseded, stale, conflict
    owner       TEXT NOT NULL,             -- whose it is: the office a declaration names, else that of the topic
    search      TEXT NOT NULL,             -- declarations: number, containers, plates, seals, folded
    fetched_ms  BIGINT,                    -- when its system was asked, newest word
    heard_ms    BIGINT NOT NULL,           -- first
    again_ms    BIGINT NOT NULL,           -- last, also when nothing was new
    body        TEXT NOT NULL,
    PRIMARY KEY (office, kind, key, version, sha256)
);
CREATE UNIQUE INDEX fact_current ON fact (office, kind, key) WHERE state = 'current';

-- Declarations that the facts in force are about.
CREATE TABLE fact_decl (
    decl_key  TEXT NOT NULL,
    office    TEXT NOT NULL,
    kind      TEXT NOT NULL,
    key       TEXT NOT NULL,
    PRIMARY KEY (decl_key, office, kind, key)
);
CREATE INDEX fact_decl_fact ON fact_decl (office, kind, key);
