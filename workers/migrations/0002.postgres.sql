-- Version 2: the vendors' truth: fetched subscriptions, refreshes, reconcile, polled facts.

-- A fetch may know a subscription that no webhook told of.
ALTER TABLE action_subscriptions
    ALTER hint_deleted DROP NOT NULL,
    ALTER hint_received_at DROP NOT NULL,
    ALTER hint_fingerprint DROP NOT NULL,
    ADD last_action_session_subscription_id TEXT,
    ADD last_session_date DATE,
    ADD project_status TEXT,
    ADD project_subscription_status TEXT,
    ADD certificate_action_approvals JSONB,
    ADD manager JSONB,
    ADD assignee JSONB,
    ADD watcher JSONB,
    ADD hint_last_at TIMESTAMPTZ,
    ADD fetched_at TIMESTAMPTZ,
    ADD fetch_covers TIMESTAMPTZ;

UPDATE action_subscriptions SET hint_last_at = hint_received_at;

-- Whose subscriptions a webhook of a person or a certificate touches, and which are of one office.
CREATE INDEX idx_action_subscriptions_subscriber_id ON action_subscriptions (account, subscriber_id);
CREATE INDEX idx_action_subscriptions_last_certificate_id ON action_subscriptions (account, last_certificate_id);
CREATE INDEX idx_action_subscriptions_subtenant_id ON action_subscriptions (account, subtenant_id);

-- What is to be fetched from a vendor, and when: one row a thing, however often it was touched.
CREATE TABLE refreshes (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    scope TEXT NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    marked_at TIMESTAMPTZ NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    attempts INT NOT NULL,
    error TEXT,
    delivery UUID,
    CONSTRAINT uid_refreshes_key UNIQUE (account, kind, subject, scope)
);

CREATE INDEX idx_refreshes_due_at ON refreshes (account, kind, due_at);

-- What runs again and again for an account, one worker at a time.
CREATE TABLE schedules (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    lease_until TIMESTAMPTZ,
    holder UUID,
    last_began TIMESTAMPTZ,
    last_success TIMESTAMPTZ,
    failures INT NOT NULL,
    error TEXT,
    CONSTRAINT uid_schedules_key UNIQUE (account, name)
);

-- When a source was last heard of.
CREATE TABLE source_freshness (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    source TEXT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_source_freshness_key UNIQUE (account, source)
);

-- Runs of reconcile: how far, and what was found.
CREATE TABLE reconcile_runs (
    id UUID NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    asked JSONB NOT NULL,
    dry_run BOOL NOT NULL,
    backfill BOOL NOT NULL,
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
    began_at TIMESTAMPTZ NOT NULL,
    step_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    error TEXT,
    holder UUID NOT NULL,
    lease_until TIMESTAMPTZ
);

CREATE INDEX idx_reconcile_runs_began_at ON reconcile_runs (account, began_at);

-- What an unfinished run saw at the vendor, a few pages a row.
CREATE TABLE reconcile_seen (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    run UUID NOT NULL,
    subjects JSONB NOT NULL
);

CREATE INDEX idx_reconcile_seen_run ON reconcile_seen (run);

-- Where mirror and vendor disagreed: evidence of lost webhooks.
CREATE TABLE drifts (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    differing JSONB NOT NULL,
    run UUID NOT NULL,
    found_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_drifts_key UNIQUE (run, subject)
);

CREATE INDEX idx_drifts_found_at ON drifts (account, found_at);

-- 4HSE's preventive actions.
CREATE TABLE actions (
    id BIGSERIAL NOT NULL PRIMARY KEY,
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
    gone BOOL NOT NULL,
    fetched_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_actions_key UNIQUE (account, action_id)
);

-- 4HSE's planned sessions of an action.
CREATE TABLE action_sessions (
    id BIGSERIAL NOT NULL PRIMARY KEY,
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
    gone BOOL NOT NULL,
    fetched_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_action_sessions_key UNIQUE (account, action_session_id)
);

-- 4HSE's ActionSessionSubscriptions with their outcome, every version.
CREATE TABLE session_enrollments (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    action_session_subscription_id TEXT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    superseded_at TIMESTAMPTZ,
    withdrawn BOOL NOT NULL,
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
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    learner TEXT NOT NULL,
    course TEXT NOT NULL,
    activity TEXT NOT NULL,
    attempt INT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    superseded_at TIMESTAMPTZ,
    withdrawn BOOL NOT NULL,
    name TEXT,
    grade DOUBLE PRECISION,
    passed BOOL,
    completed BOOL NOT NULL,
    expired BOOL,
    finished BOOL,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    CONSTRAINT uid_course_results_key UNIQUE (account, learner, course, activity, attempt, version)
);

-- iSpring's on-the-job sessions, every version.
CREATE TABLE observations (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    session_id TEXT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    superseded_at TIMESTAMPTZ,
    withdrawn BOOL NOT NULL,
    checklist_id TEXT NOT NULL,
    checklist_title TEXT,
    employee_id TEXT NOT NULL,
    observer_id TEXT NOT NULL,
    status TEXT NOT NULL,
    planned_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    completed_at TIMESTAMPTZ,
    result DOUBLE PRECISION,
    total_points DOUBLE PRECISION,
    points DOUBLE PRECISION,
    CONSTRAINT uid_observations_key UNIQUE (account, session_id, version)
);

CREATE INDEX idx_observations_employee_id ON observations (account, employee_id);

-- Who was at a Kare exercise, every version.
CREATE TABLE attendances (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    intervention_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    version INT NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    superseded_at TIMESTAMPTZ,
    withdrawn BOOL NOT NULL,
    status TEXT,
    ended_at TIMESTAMPTZ,
    CONSTRAINT uid_attendances_key UNIQUE (account, intervention_id, user_id, version)
);

-- iSpring's webhook subscribers that muster made, and whether they are confirmed.
CREATE TABLE webhook_subscribers (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT,
    error TEXT,
    asked_at TIMESTAMPTZ,
    state_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uid_webhook_subscribers_key UNIQUE (account, name)
);

-- For teams that query: one row a subscription. The columns are documented in the README.
-- PostgreSQL lets nobody write through a view that begins WITH.
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

COMMENT ON VIEW compliance IS 'The compliance schedule, one row an entry, read only.';
COMMENT ON COLUMN compliance.account IS 'The account at 4HSE, by its name in muster''s settings.';
COMMENT ON COLUMN compliance.action_subscription_id IS '4HSE''s id of the entry; with the account, the key.';
COMMENT ON COLUMN compliance.state IS 'live; missing: the account''s API does not show it, perhaps for want of rights; deleted.';
COMMENT ON COLUMN compliance.status IS 'NEW, VALID, EXPIRING or EXPIRED, as 4HSE computed it by as_of; empty where only a webhook told of the entry.';
COMMENT ON COLUMN compliance.active IS 'False for an entry that is historicized, or belongs to something that is.';
COMMENT ON COLUMN compliance.action_id IS 'What must be fulfilled: the key of actions.';
COMMENT ON COLUMN compliance.action_type IS 'TRAINING, MAINTENANCE, HEALTH, CHECK or PER.';
COMMENT ON COLUMN compliance.action_code IS 'The action''s code.';
COMMENT ON COLUMN compliance.action_name IS 'The action''s name.';
COMMENT ON COLUMN compliance.subscriber_type IS 'Who or what must fulfil it: PERSON, ROLE, EQUIPMENT, …';
COMMENT ON COLUMN compliance.subscriber_id IS 'Its id at 4HSE; of a person, the person''s.';
COMMENT ON COLUMN compliance.subscriber_code IS 'Its code; of a person, usually the personnel number.';
COMMENT ON COLUMN compliance.subscriber_name IS 'Its name.';
COMMENT ON COLUMN compliance.office_id IS 'The office, 4HSE''s subtenant.';
COMMENT ON COLUMN compliance.office_name IS 'The office''s name.';
COMMENT ON COLUMN compliance.project_id IS 'The project, 4HSE''s tenant.';
COMMENT ON COLUMN compliance.project_name IS 'The project''s name.';
COMMENT ON COLUMN compliance.project_type IS 'The project''s type.';
COMMENT ON COLUMN compliance.last_certificate_id IS 'The certificate that covers it, or did last.';
COMMENT ON COLUMN compliance.certificate_date_release IS 'When that was released.';
COMMENT ON COLUMN compliance.certificate_date_expire IS 'When that expires; empty: never, or there is none.';
COMMENT ON COLUMN compliance.last_session_date IS 'When the last session was that the subscriber has a seat in.';
COMMENT ON COLUMN compliance.last_webhook_at IS 'When the last webhook about it arrived.';
COMMENT ON COLUMN compliance.as_of IS 'When 4HSE was last asked what the row says; empty: never, the row says what webhooks did.';
COMMENT ON COLUMN compliance.stale_since IS 'Something at 4HSE changed that may concern it, and was not fetched since; empty: nothing known of.';
