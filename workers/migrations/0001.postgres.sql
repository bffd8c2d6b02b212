-- Version 1: delivery log, held envelopes, action subscriptions.

CREATE TABLE schema_versions (
    version INT NOT NULL PRIMARY KEY,
    oldest_served INT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE deliveries (
    id UUID NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    account TEXT NOT NULL,
    vendor TEXT NOT NULL,
    event TEXT,
    received_at TIMESTAMPTZ NOT NULL,
    headers JSONB NOT NULL,
    body BYTEA NOT NULL,
    fingerprint BYTEA NOT NULL,
    week INT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    detail TEXT,
    subject TEXT,
    attempts INT NOT NULL,
    replay_of UUID,
    repeat_of UUID,
    state_at TIMESTAMPTZ NOT NULL
);

-- What waits, what is dead, and how much of each. Applied rows only ever grow at its right edge.
CREATE INDEX idx_deliveries_state ON deliveries (state, received_at);

-- Repeats: the first delivery that said the same. By weeks, so that it grows in one place however large the log is.
CREATE INDEX idx_deliveries_content ON deliveries (week, fingerprint, id);

CREATE TABLE held_envelopes (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    version INT NOT NULL,
    kind TEXT NOT NULL,
    message BYTEA NOT NULL,
    held_at TIMESTAMPTZ NOT NULL
);

-- Room in each page for the next version of its rows: an update then touches one page and no index.
CREATE TABLE action_subscriptions (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    state TEXT NOT NULL,
    action_id TEXT,
    subscriber_id TEXT,
    subscriber_type TEXT,
    subtenant_id TEXT,
    tenant_id TEXT,
    data JSONB,
    action_type TEXT,
    action_code TEXT,
    action_name TEXT,
    subscriber_code TEXT,
    subscriber_name TEXT,
    status TEXT,
    last_certificate_id TEXT,
    certificate_date_release DATE,
    certificate_date_expire DATE,
    office_name TEXT,
    project_name TEXT,
    project_type TEXT,
    owned_active BOOL,
    parent_active BOOL,
    flags JSONB NOT NULL,
    hint_deleted BOOL NOT NULL,
    hint_received_at TIMESTAMPTZ NOT NULL,
    hint_fingerprint BYTEA NOT NULL,
    CONSTRAINT uid_action_subscriptions_key UNIQUE (account, action_subscription_id)
) WITH (fillfactor = 80);
