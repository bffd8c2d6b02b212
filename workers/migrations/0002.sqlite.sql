-- Version 2: the vendors' truth: fetched subscriptions, refreshes, reconcile, polled facts.

-- SQLite changes no column in place. A fetch may know a subscription that no webhook told of.
ALTER TABLE action_subscriptions RENAME TO action_subscriptions_1;

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
    hint_deleted INT,
    hint_received_at TIMESTAMP,
    hint_fingerprint BLOB,
    last_action_session_subscription_id TEXT,
    last_session_date DATE,
    project_status TEXT,
    project_subscription_status TEXT,
    certificate_action_approvals JSON,
    manager JSON,
    assignee JSON,
    watcher JSON,
    hint_last_at TIMESTAMP,
    fetched_at TIMESTAMP,
    fetch_covers TIMESTAMP,
    CONSTRAINT uid_action_subscriptions_key UNIQUE (account, action_subscription_id)
);

INSERT INTO action_subscriptions (
    id, account, action_subscription_id, state, action_id, subscriber_id, subscriber_type, subtenant_id, tenant_id, data, action_type, action_code, action_name, subscriber_code, subscriber_name, status, last_certificate_id, certificate_date_release, certificate_date_expire, office_name, project_name, project_type, owned_active, parent_active, flags, hint_deleted, hint_received_at, hint_fingerprint, hint_last_at
) SELECT
    id, account, action_subscription_id, state, action_id, subscriber_id, subscriber_type, subtenant_id, tenant_id, data, action_type, action_code, action_name, subscriber_code, subscriber_name, status, last_certificate_id, certificate_date_release, certificate_date_expire, office_name, project_name, project_type, owned_active, parent_active, flags, hint_deleted, hint_received_at, hint_fingerprint, hint_received_at
FROM action_subscriptions_1;

DROP TABLE action_subscriptions_1;

-- Whose subscriptions a webhook of a person or a certificate touches, and which are of one office.
CREATE INDEX idx_action_subscriptions_subscriber_id ON action_subscriptions (account, subscriber_id);
CREATE INDEX idx_action_subscriptions_last_certificate_id ON action_subscriptions (account, last_certificate_id);
CREATE INDEX idx_action_subscriptions_subtenant_id ON action_subscriptions (account, subtenant_id);

-- What is to be fetched from a vendor, and when: one row a thing, however often it was touched.
CREATE TABLE refreshes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    scope TEXT NOT NULL,
    since TIMESTAMP NOT NULL,
    marked_at TIMESTAMP NOT NULL,
    due_at TIMESTAMP NOT NULL,
    attempts INT NOT NULL,
    error TEXT,
    delivery CHAR(36),
    CONSTRAINT uid_refreshes_key UNIQUE (account, kind, subject, scope)
);

CREATE INDEX idx_refreshes_due_at ON refreshes (account, kind, due_at);

-- What runs again and again for an account, one worker at a time.
CREATE TABLE schedules (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    due_at TIMESTAMP NOT NULL,
    lease_until TIMESTAMP,
    holder CHAR(36),
    last_began TIMESTAMP,
    last_success TIMESTAMP,
    failures INT NOT NULL,
    error TEXT,
    CONSTRAINT uid_schedules_key UNIQUE (account, name)
);

-- When a source was last heard of.
CREATE TABLE source_freshness (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    received_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_source_freshness_key UNIQUE (account, source)
);

-- Runs of reconcile: how far, and what was found.
CREATE TABLE reconcile_runs (
    id CHAR(36) NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    asked JSON NOT NULL,
    dry_run INT NOT NULL,
    backfill INT NOT NULL,
    state TEXT NOT NULL,
    walk INT NOT NULL,
    next_page INT NOT NULL,
    total BIGINT,
    seen BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    extra BIGINT NOT NULL,
    different BIGINT NOT NULL,
    unreadable BIGINT NOT NULL,
    began_at TIMESTAMP NOT NULL,
    step_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP,
    error TEXT,
    holder CHAR(36) NOT NULL,
    lease_until TIMESTAMP
);

CREATE INDEX idx_reconcile_runs_began_at ON reconcile_runs (account, began_at);

-- What an unfinished run saw at the vendor, a few pages a row.
CREATE TABLE reconcile_seen (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run CHAR(36) NOT NULL,
    subjects JSON NOT NULL
);

CREATE INDEX idx_reconcile_seen_run ON reconcile_seen (run);

-- Where mirror and vendor disagreed: evidence of lost webhooks.
CREATE TABLE drifts (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    differing JSON NOT NULL,
    run CHAR(36) NOT NULL,
    found_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_drifts_key UNIQUE (run, subject)
);

CREATE INDEX idx_drifts_found_at ON drifts (account, found_at);

-- 4HSE's preventive actions.
CREATE TABLE actions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    action_id TEXT NOT NULL,
    action_type TEXT,
    code TEXT,
    name TEXT,
    validity INT,
    validity_unit TEXT,
    expire_interval INT,
    subtenant_id TEXT,
    tenant_id TEXT,
    gone INT NOT NULL,
    fetched_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_actions_key UNIQUE (account, action_id)
);

-- 4HSE's planned sessions of an action.
CREATE TABLE action_sessions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    action_session_id TEXT NOT NULL,
    action_id TEXT,
    name TEXT,
    date_begin DATE,
    date_end DATE,
    validity INT,
    validity_unit TEXT,
    subtenant_id TEXT,
    tenant_id TEXT,
    gone INT NOT NULL,
    fetched_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_action_sessions_key UNIQUE (account, action_session_id)
);

-- 4HSE's ActionSessionSubscriptions with their outcome, every version.
CREATE TABLE session_enrollments (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    action_session_subscription_id TEXT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMP NOT NULL,
    superseded_at TIMESTAMP,
    withdrawn INT NOT NULL,
    action_session_id TEXT,
    action_subscription_id TEXT,
    done INT,
    warning INT,
    certificate_id TEXT,
    date_begin DATE,
    date_expire DATE,
    validity INT,
    validity_unit TEXT,
    session_date_begin DATE,
    subtenant_id TEXT,
    tenant_id TEXT,
    CONSTRAINT uid_session_enrollments_key UNIQUE (account, action_session_subscription_id, version)
);

CREATE INDEX idx_session_enrollments_action_subscription_id ON session_enrollments (account, action_subscription_id);

-- Results in courses and their activities, every version.
CREATE TABLE course_results (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    learner TEXT NOT NULL,
    course TEXT NOT NULL,
    activity TEXT NOT NULL,
    attempt INT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMP NOT NULL,
    superseded_at TIMESTAMP,
    withdrawn INT NOT NULL,
    name TEXT,
    grade REAL,
    passed INT,
    completed INT NOT NULL,
    expired INT,
    finished INT,
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    CONSTRAINT uid_course_results_key UNIQUE (account, learner, course, activity, attempt, version)
);

-- iSpring's on-the-job sessions, every version.
CREATE TABLE observations (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    session_id TEXT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMP NOT NULL,
    superseded_at TIMESTAMP,
    withdrawn INT NOT NULL,
    checklist_id TEXT NOT NULL,
    checklist_title TEXT,
    employee_id TEXT NOT NULL,
    observer_id TEXT NOT NULL,
    status TEXT NOT NULL,
    planned_at TIMESTAMP,
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    result REAL,
    total_points REAL,
    points REAL,
    CONSTRAINT uid_observations_key UNIQUE (account, session_id, version)
);

CREATE INDEX idx_observations_employee_id ON observations (account, employee_id);

-- Who was at a Kare exercise, every version.
CREATE TABLE attendances (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    intervention_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMP NOT NULL,
    superseded_at TIMESTAMP,
    withdrawn INT NOT NULL,
    status TEXT,
    ended_at TIMESTAMP,
    CONSTRAINT uid_attendances_key UNIQUE (account, intervention_id, user_id, version)
);

-- iSpring's webhook subscribers that muster made, and whether they are confirmed.
CREATE TABLE webhook_subscribers (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT,
    error TEXT,
    asked_at TIMESTAMP,
    state_at TIMESTAMP NOT NULL,
    CONSTRAINT uid_webhook_subscribers_key UNIQUE (account, name)
);

-- For teams that query: one row a subscription, read only. The columns are documented in the README.
CREATE VIEW compliance AS
WITH s AS (SELECT * FROM action_subscriptions)
SELECT
    s.account, s.action_subscription_id, s.state, s.status, s.owned_active AND s.parent_active AS active,
    s.action_id, s.action_type, s.action_code, s.action_name,
    s.subscriber_type, s.subscriber_id, s.subscriber_code, s.subscriber_name,
    s.subtenant_id AS office_id, s.office_name, s.tenant_id AS project_id, s.project_name, s.project_type,
    s.last_certificate_id, s.certificate_date_release, s.certificate_date_expire, s.last_session_date,
    s.hint_last_at AS last_webhook_at, s.fetched_at AS as_of,
    (
        SELECT min(since) FROM (
            SELECT since FROM refreshes AS r
            WHERE r.account = s.account AND r.kind = 'action-subscription' AND r.subject = s.action_subscription_id
            UNION ALL
            SELECT since FROM refreshes AS r
            WHERE r.account = s.account AND r.kind = 'subscriber' AND r.subject = s.subscriber_id AND r.scope IN ('', s.action_id)
            UNION ALL
            SELECT since FROM refreshes AS r
            WHERE r.account = s.account AND r.kind = 'certificate' AND r.subject = s.last_certificate_id AND r.scope IN ('', s.action_id)
        ) AS touches
    ) AS stale_since
FROM s;
