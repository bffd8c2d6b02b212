-- Operating: replay, dead letters, rejects, retention, erasure, traces.

-- Retention drops bodies, and keeps what they were of for longer.
ALTER TABLE deliveries ALTER body DROP NOT NULL;

-- Replay: runs, each with its selection, and what became of it.
CREATE TABLE replay_runs (
    id UUID NOT NULL PRIMARY KEY,
    who TEXT NOT NULL,
    asked JSONB NOT NULL,
    state TEXT NOT NULL,
    began_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    looked_at TIMESTAMPTZ,
    looked_id UUID,
    selected INT NOT NULL,
    bodiless INT NOT NULL,
    applied INT NOT NULL,
    unchanged INT NOT NULL,
    dead INT NOT NULL,
    gone INT NOT NULL
);

CREATE INDEX idx_replay_runs_began_at ON replay_runs (began_at);

-- Room in each page for the outcomes: noting one touches no index.
CREATE TABLE replay_items (
    replay UUID NOT NULL PRIMARY KEY,
    run UUID NOT NULL,
    original UUID NOT NULL,
    outcome TEXT
) WITH (fillfactor = 80);

CREATE INDEX idx_replay_items_run ON replay_items (run, replay);

-- Erasure: people of whom nothing is kept, by keyed digests of the ids that name them; no id can be read from a digest.
CREATE TABLE erasure_keys (
    id INT NOT NULL PRIMARY KEY,
    key BYTEA NOT NULL
);

CREATE TABLE erasures (
    id UUID NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    block BOOL NOT NULL,
    state TEXT NOT NULL,
    scanned UUID,
    erased JSONB NOT NULL,
    ended_at TIMESTAMPTZ,
    CONSTRAINT uid_erasures_key UNIQUE (account, subscriber)
);

CREATE TABLE erasure_marks (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    erasure UUID NOT NULL,
    CONSTRAINT uid_erasure_marks_key UNIQUE (digest, erasure)
);

CREATE INDEX idx_erasure_marks_erasure ON erasure_marks (erasure);

-- The receivers that were heard of, as of their last heartbeats.
CREATE TABLE receivers (
    name VARCHAR(100) NOT NULL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    began_at TIMESTAMPTZ NOT NULL,
    every DOUBLE PRECISION NOT NULL,
    program TEXT NOT NULL,
    spooled BIGINT NOT NULL,
    spooled_since TIMESTAMPTZ,
    spool_full BOOL NOT NULL,
    rejected BIGINT NOT NULL,
    rejected_last TIMESTAMPTZ,
    rejected_lost BIGINT NOT NULL,
    stopping BOOL NOT NULL
);

-- Audit: what people did by hand, who and why.
CREATE TABLE audit (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    who TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT,
    details JSONB NOT NULL
);

CREATE INDEX idx_audit_at ON audit (at);

-- Traces: how the trace of what wrote the row goes on, for whoever works it off.
ALTER TABLE refreshes ADD trace TEXT;

ALTER TABLE enrollments ADD trace TEXT;

ALTER TABLE recordings ADD trace TEXT;

-- Follow-ups: what a person should look at, and each target's own time.
ALTER TABLE needs ADD alarm TEXT;

ALTER TABLE need_targets ADD due_at TIMESTAMPTZ;

UPDATE need_targets SET due_at = (SELECT n.due_at FROM needs AS n WHERE n.id = need_targets.need);

-- Whose subscriptions the results of a learner are about.
CREATE INDEX idx_action_subscriptions_subscriber_code ON action_subscriptions (account, subscriber_code);
