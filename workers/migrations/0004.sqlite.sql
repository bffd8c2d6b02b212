-- Operating: replay, dead letters, rejects, retention, erasure, traces.

-- Retention drops bodies, and keeps what they were of for longer. SQLite changes no column in place.
CREATE TABLE deliveries_4 (
    id CHAR(36) NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    account TEXT NOT NULL,
    vendor TEXT NOT NULL,
    event TEXT,
    received_at TIMESTAMP NOT NULL,
    headers JSON NOT NULL,
    body BLOB,
    fingerprint BLOB NOT NULL,
    week INT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    detail TEXT,
    subject TEXT,
    attempts INT NOT NULL,
    replay_of CHAR(36),
    repeat_of CHAR(36),
    state_at TIMESTAMP NOT NULL
);

INSERT INTO deliveries_4 SELECT * FROM deliveries;

DROP TABLE deliveries;

ALTER TABLE deliveries_4 RENAME TO deliveries;

CREATE INDEX idx_deliveries_state ON deliveries (state, received_at);
CREATE INDEX idx_deliveries_content ON deliveries (week, fingerprint, id);

-- Replay: runs, each with its selection, and what became of it.
CREATE TABLE replay_runs (
    id CHAR(36) NOT NULL PRIMARY KEY,
    who TEXT NOT NULL,
    asked JSON NOT NULL,
    state TEXT NOT NULL,
    began_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP,
    looked_at TIMESTAMP,
    looked_id CHAR(36),
    selected INT NOT NULL,
    bodiless INT NOT NULL,
    applied INT NOT NULL,
    unchanged INT NOT NULL,
    dead INT NOT NULL,
    gone INT NOT NULL
);

CREATE INDEX idx_replay_runs_began_at ON replay_runs (began_at);

CREATE TABLE replay_items (
    replay CHAR(36) NOT NULL PRIMARY KEY,
    run CHAR(36) NOT NULL,
    original CHAR(36) NOT NULL,
    outcome TEXT
);

CREATE INDEX idx_replay_items_run ON replay_items (run, replay);

-- Erasure: people of whom nothing is kept, by keyed digests of the ids that name them; no id can be read from a digest.
CREATE TABLE erasure_keys (
    id INT NOT NULL PRIMARY KEY,
    key BLOB NOT NULL
);

CREATE TABLE erasures (
    id CHAR(36) NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    at TIMESTAMP NOT NULL,
    block INT NOT NULL,
    state TEXT NOT NULL,
    scanned CHAR(36),
    erased JSON NOT NULL,
    ended_at TIMESTAMP,
    CONSTRAINT uid_erasures_key UNIQUE (account, subscriber)
);

CREATE TABLE erasure_marks (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    erasure CHAR(36) NOT NULL,
    CONSTRAINT uid_erasure_marks_key UNIQUE (digest, erasure)
);

CREATE INDEX idx_erasure_marks_erasure ON erasure_marks (erasure);

-- The receivers that were heard of, as of their last heartbeats.
CREATE TABLE receivers (
    name VARCHAR(100) NOT NULL PRIMARY KEY,
    at TIMESTAMP NOT NULL,
    began_at TIMESTAMP NOT NULL,
    every REAL NOT NULL,
    program TEXT NOT NULL,
    spooled BIGINT NOT NULL,
    spooled_since TIMESTAMP,
    spool_full INT NOT NULL,
    rejected BIGINT NOT NULL,
    rejected_last TIMESTAMP,
    rejected_lost BIGINT NOT NULL,
    stopping INT NOT NULL
);

-- Audit: what people did by hand, who and why.
CREATE TABLE audit (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at TIMESTAMP NOT NULL,
    who TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT,
    details JSON NOT NULL
);

CREATE INDEX idx_audit_at ON audit (at);

-- Traces: how the trace of what wrote the row goes on, for whoever works it off.
ALTER TABLE refreshes ADD COLUMN trace TEXT;

ALTER TABLE enrollments ADD COLUMN trace TEXT;

ALTER TABLE recordings ADD COLUMN trace TEXT;

-- Follow-ups: what a person should look at, and each target's own time.
ALTER TABLE needs ADD COLUMN alarm TEXT;

ALTER TABLE need_targets ADD COLUMN due_at TIMESTAMP;

UPDATE need_targets SET due_at = (SELECT n.due_at FROM needs AS n WHERE n.id = need_targets.need);

-- Whose subscriptions the results of a learner are about.
CREATE INDEX idx_action_subscriptions_subscriber_code ON action_subscriptions (account, subscriber_code);
