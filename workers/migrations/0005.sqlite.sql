-- Replay: how fast a run goes, and whether all follows from it that would from a first arrival, whenever it is taken up.
ALTER TABLE replay_runs ADD rate REAL;

ALTER TABLE replay_runs ADD effects INT;

-- What was imported without effects stays so.
ALTER TABLE deliveries ADD effects INT;

-- When a worker heard the heartbeat that a receiver's row tells of.
ALTER TABLE receivers ADD heard_at TIMESTAMP;
