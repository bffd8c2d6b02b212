-- How far the rows that an applied rule may speak of have been looked at.
ALTER TABLE rule_states ADD COLUMN walked TEXT;
ALTER TABLE rule_states ADD COLUMN walk_at TIMESTAMP;
ALTER TABLE rule_states ADD COLUMN reached BIGINT;
