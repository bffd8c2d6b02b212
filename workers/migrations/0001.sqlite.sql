-- Version 1: delivery log, held envelopes, action subscriptions.

CREATE TABLE schema_versions (
    version INT NOT NULL PRIMARY KEY,
    oldest_served INT NOT NULL,
    applied_at TIMESTAMP NOT NULL
);

CREATE TABLE deliveries (
    id CHAR(36) NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    account TEXT NOT NULL,
    vendor TEXT NOT NULL,
    event TEXT,
    received_at TIMESTAMP NOT NULL,
    headers JSON NOT NULL,
    body BLOB NOT NULL,
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

-- What waits, what is dead, and how much of each. Applied rows only ever grow at its right edge.
CREATE INDEX idx_deliveries_state ON deliveries (state, received_at);

-- Repeats: the first delivery that said the same. By weeks, so that it grows in one place however large the log is.
CREATE INDEX idx_deliveries_content ON deliveries (week, fingerprint, id);

CREATE TABLE held_envelopes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    version INT NOT NULL,
    kind TEXT NOT NULL,
    message BLOB NOT NULL,
    held_at TIMESTAMP NOT NULL
);

CREATE TABLE action_subscriptions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    state TEXT NOT NULL,
    action_id TEXT,
    subscriber_id TEXT,
    subscriber_type TEXT,
    subtenant_id TEXT,
    tenant_id TEXT,
    data JSON,
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
    owned_active INT,
    parent_active INT,
    flags JSON NOT NULL,
    hint_deleted INT NOT NULL,
    hint_received_at TIMESTAMP NOT NULL,
    hint_fingerprint BLOB NOT NULL,
    CONSTRAINT uid_action_subscriptions_key UNIQUE (account, action_subscription_id)
);
