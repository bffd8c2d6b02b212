-- Version 3: follow-ups, the compliance clock, the outbox.

-- When a row was first seen opens its first cycle; when its status changes next by the calendar, the clock looks at it.
ALTER TABLE action_subscriptions ADD COLUMN first_seen_at TIMESTAMP;
ALTER TABLE action_subscriptions ADD COLUMN changes_at TIMESTAMP;

-- What was fetched already is looked at once.
UPDATE action_subscriptions SET changes_at = fetched_at WHERE state = 'live' AND fetched_at IS NOT NULL;

CREATE INDEX idx_action_subscriptions_changes_at ON action_subscriptions (changes_at);

-- Rules as they were applied by a person; a rule whose digest is another is pending.
CREATE TABLE rule_states (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_rule_states_key UNIQUE (name)
);

-- Who a person or an office of ours is in another account.
CREATE TABLE identities (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    here TEXT NOT NULL,
    there TEXT NOT NULL,
    CONSTRAINT uid_identities_key UNIQUE (account, kind, here)
);

CREATE INDEX idx_identities_there ON identities (account, kind, there);

-- One rule's demand for one subscription in one cycle.
CREATE TABLE needs (
    id CHAR(36) NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    cycle TEXT NOT NULL,
    digest TEXT NOT NULL,
    plan JSON NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    state_at TIMESTAMP NOT NULL,
    opened_at TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL,
    due_at TIMESTAMP,
    attempt INT NOT NULL,
    wait_until TIMESTAMP,
    look_at TIMESTAMP,
    approvals JSON NOT NULL,
    released_at TIMESTAMP,
    CONSTRAINT uid_needs_key UNIQUE (account, action_subscription_id, rule, cycle)
);

CREATE INDEX idx_needs_look_at ON needs (look_at);

CREATE INDEX idx_needs_state ON needs (rule, state);

-- A need's targets, in the order of its rule, and what became of each.
CREATE TABLE need_targets (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    need CHAR(36) NOT NULL,
    step INT NOT NULL,
    state TEXT NOT NULL,
    enrollment CHAR(36),
    result JSON,
    CONSTRAINT uid_need_targets_key UNIQUE (need, step)
);

CREATE INDEX idx_need_targets_enrollment ON need_targets (enrollment);

-- A learner's seats in targets, a row a round; at most one of them open.
CREATE TABLE enrollments (
    id CHAR(36) NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    learner TEXT NOT NULL,
    target TEXT NOT NULL,
    round INT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    state_at TIMESTAMP NOT NULL,
    found INT,
    wish TEXT,
    due_at TIMESTAMP,
    attempts INT NOT NULL,
    error TEXT,
    terms JSON NOT NULL,
    start_on DATE,
    expire_on DATE,
    remote TEXT,
    enrolled_at TIMESTAMP,
    CONSTRAINT uid_enrollments_key UNIQUE (account, learner, target, round)
);

CREATE INDEX idx_enrollments_due_at ON enrollments (account, due_at);

-- Every move of a need or an enrollment, with time and reason.
CREATE TABLE followup_moves (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    need CHAR(36),
    enrollment CHAR(36),
    rule TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    at TIMESTAMP NOT NULL
);

CREATE INDEX idx_followup_moves_need ON followup_moves (need);

CREATE INDEX idx_followup_moves_enrollment ON followup_moves (enrollment);

CREATE INDEX idx_followup_moves_at ON followup_moves (rule, at);

-- What is written back to 4HSE for a passed need, a row a step.
CREATE TABLE recordings (
    id CHAR(36) NOT NULL PRIMARY KEY,
    need CHAR(36) NOT NULL,
    account TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    body JSON NOT NULL,
    remote TEXT NOT NULL,
    due_at TIMESTAMP,
    attempts INT NOT NULL,
    error TEXT,
    state_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_recordings_key UNIQUE (need, step)
);

CREATE INDEX idx_recordings_due_at ON recordings (account, due_at);

-- Which result certified which subscription: each once only.
CREATE TABLE certified (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    result TEXT NOT NULL,
    need CHAR(36) NOT NULL,
    at TIMESTAMP NOT NULL,
    CONSTRAINT uid_certified_key UNIQUE (account, action_subscription_id, result)
);

-- Events for internal teams that are not yet with the broker.
CREATE TABLE outbox (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    event CHAR(36) NOT NULL,
    type TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at TIMESTAMP NOT NULL,
    data JSON NOT NULL,
    due_at TIMESTAMP NOT NULL,
    attempts INT NOT NULL,
    CONSTRAINT uid_outbox_key UNIQUE (subject, sequence)
);

CREATE INDEX idx_outbox_due_at ON outbox (due_at);

-- The last sequence number of each subject.
CREATE TABLE event_sequences (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    number BIGINT NOT NULL,
    CONSTRAINT uid_event_sequences_key UNIQUE (subject)
);
