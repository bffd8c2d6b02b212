-- Follow-ups: which moves give a seat back, for the guard to count; a need may end as valid, too.
ALTER TABLE followup_moves ADD undoes BOOL;

-- Follow-ups: at most one open seat of a learner in a target, whoever plans.
CREATE UNIQUE INDEX uid_enrollments_open ON enrollments (account, learner, target)
WHERE state IN ('planned', 'requested', 'enrolled');

-- The clock: by which days an account's statuses were last reckoned.
CREATE TABLE account_calendars (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    boundary INT NOT NULL,
    CONSTRAINT uid_account_calendars_key UNIQUE (account)
);

-- How far the rows that an applied rule may speak of have been looked at.
ALTER TABLE rule_states
    ADD walked TEXT,
    ADD walk_at TIMESTAMPTZ,
    ADD reached BIGINT;

-- Why an event could not be told.
ALTER TABLE outbox ADD reason TEXT;

-- Replay: how fast a run goes, and whether all follows from it that would from a first arrival, whenever it is taken up.
ALTER TABLE replay_runs ADD rate DOUBLE PRECISION;

ALTER TABLE replay_runs ADD effects BOOL;

-- What was imported without effects stays so.
ALTER TABLE deliveries ADD effects BOOL;

-- When a worker heard the heartbeat that a receiver's row tells of.
ALTER TABLE receivers ADD heard_at TIMESTAMPTZ;

-- Erasure: whose a subscription was before a webhook's few fields replaced all that was shown of it.
CREATE TABLE former_holders (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    subscriber_code TEXT NOT NULL,
    last_certificate_id TEXT NOT NULL,
    CONSTRAINT uid_former_holders_key UNIQUE (account, subscriber_id, action_subscription_id, subscriber_code, last_certificate_id)
);

-- Causes: the deliveries for whose sake a row is worked off, beside the trace.
ALTER TABLE refreshes ADD deliveries TEXT;

UPDATE refreshes SET deliveries = delivery::text;

ALTER TABLE enrollments ADD deliveries TEXT;

ALTER TABLE recordings ADD deliveries TEXT;
