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
