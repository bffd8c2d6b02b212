-- Why an event could not be told.
ALTER TABLE outbox ADD reason TEXT;
