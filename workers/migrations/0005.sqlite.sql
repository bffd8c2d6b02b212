-- Causes: the deliveries for whose sake a row is worked off, beside the trace.
ALTER TABLE refreshes ADD COLUMN deliveries TEXT;

UPDATE refreshes SET deliveries = delivery;

ALTER TABLE enrollments ADD COLUMN deliveries TEXT;

ALTER TABLE recordings ADD COLUMN deliveries TEXT;
