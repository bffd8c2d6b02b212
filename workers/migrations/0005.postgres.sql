-- Follow-ups: which moves give a seat back, for the guard to count; a need may end as valid, too.
ALTER TABLE followup_moves ADD undoes BOOL;
