-- Version 3: follow-ups, the compliance clock, the outbox.

-- When a row was first seen opens its first cycle; when its status changes next by the calendar, the clock looks at it.
ALTER TABLE action_subscriptions
    ADD first_seen_at TIMESTAMPTZ,
    ADD changes_at TIMESTAMPTZ;

-- What was fetched already is looked at once.
UPDATE action_subscriptions SET changes_at = fetched_at WHERE state = 'live' AND fetched_at IS NOT NULL;

CREATE INDEX idx_action_subscriptions_changes_at ON action_subscriptions (changes_at);

-- Rules as they were applied by a person; a rule whose digest is another is pending.
CREATE TABLE rule_states (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_rule_states_key UNIQUE (name)
);

-- Who a person or an office of ours is in another account.
CREATE TABLE identities (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    here TEXT NOT NULL,
    there TEXT NOT NULL,
    CONSTRAINT uid_identities_key UNIQUE (account, kind, here)
);

CREATE INDEX idx_identities_there ON identities (account, kind, there);

-- One rule's demand for one subscription in one cycle.
CREATE TABLE needs (
    id UUID NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    cycle TEXT NOT NULL,
    digest TEXT NOT NULL,
    plan JSONB NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    state_at TIMESTAMPTZ NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    due_at TIMESTAMPTZ,
    attempt INT NOT NULL,
    wait_until TIMESTAMPTZ,
    look_at TIMESTAMPTZ,
    approvals JSONB NOT NULL,
    released_at TIMESTAMPTZ,
    CONSTRAINT uid_needs_key UNIQUE (account, action_subscription_id, rule, cycle)
);

CREATE INDEX idx_needs_look_at ON needs (look_at);

CREATE INDEX idx_needs_state ON needs (rule, state);

-- A need's targets, in the order of its rule, and what became of each.
CREATE TABLE need_targets (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    need UUID NOT NULL,
    step INT NOT NULL,
    state TEXT NOT NULL,
    enrollment UUID,
    result JSONB,
    CONSTRAINT uid_need_targets_key UNIQUE (need, step)
);

CREATE INDEX idx_need_targets_enrollment ON need_targets (enrollment);

-- A learner's seats in targets, a row a round; at most one of them open.
CREATE TABLE enrollments (
    id UUID NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    learner TEXT NOT NULL,
    target TEXT NOT NULL,
    round INT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    state_at TIMESTAMPTZ NOT NULL,
    found BOOL,
    wish TEXT,
    due_at TIMESTAMPTZ,
    attempts INT NOT NULL,
    error TEXT,
    terms JSONB NOT NULL,
    start_on DATE,
    expire_on DATE,
    remote TEXT,
    enrolled_at TIMESTAMPTZ,
    CONSTRAINT uid_enrollments_key UNIQUE (account, learner, target, round)
);

CREATE INDEX idx_enrollments_due_at ON enrollments (account, due_at);

-- Every move of a need or an enrollment, with time and reason.
CREATE TABLE followup_moves (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    need UUID,
    enrollment UUID,
    rule TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    at TIMESTAMPTZ NOT NULL
);

CREATE INDEX idx_followup_moves_need ON followup_moves (need);

CREATE INDEX idx_followup_moves_enrollment ON followup_moves (enrollment);

CREATE INDEX idx_followup_moves_at ON followup_moves (rule, at);

-- What is written back to 4HSE for a passed need, a row a step.
CREATE TABLE recordings (
    id UUID NOT NULL PRIMARY KEY,
    need UUID NOT NULL,
    account TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    body JSONB NOT NULL,
    remote TEXT NOT NULL,
    due_at TIMESTAMPTZ,
    attempts INT NOT NULL,
    error TEXT,
    state_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_recordings_key UNIQUE (need, step)
);

CREATE INDEX idx_recordings_due_at ON recordings (account, due_at);

-- Which result certified which subscription: each once only.
CREATE TABLE certified (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    result TEXT NOT NULL,
    need UUID NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_certified_key UNIQUE (account, action_subscription_id, result)
);

-- Events for internal teams that are not yet with the broker.
CREATE TABLE outbox (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    event UUID NOT NULL,
    type TEXT NOT NULL,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    data JSONB NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    attempts INT NOT NULL,
    CONSTRAINT uid_outbox_key UNIQUE (subject, sequence)
);

CREATE INDEX idx_outbox_due_at ON outbox (due_at);

-- The last sequence number of each subject.
CREATE TABLE event_sequences (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    number BIGINT NOT NULL,
    CONSTRAINT uid_event_sequences_key UNIQUE (subject)
);
