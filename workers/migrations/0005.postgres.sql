-- Follow-ups: which moves give a seat back, for the guard to count; a need may end as valid, too.
ALTER TABLE followup_moves ADD undoes BOOL;

-- Follow-ups: at most one open seat of a learner in a target, whoever plans.
CREATE UNIQUE INDEX uid_enrollments_open ON enrollments (account, learner, target)
WHERE state IN ('planned', 'requested', 'enrolled');
