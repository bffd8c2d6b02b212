-- How far the rows that an applied rule may speak of have been looked at.
ALTER TABLE rule_states
    ADD walked TEXT,
    ADD walk_at TIMESTAMPTZ,
    ADD reached BIGINT;
