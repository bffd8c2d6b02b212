-- Causes: the deliveries for whose sake a row is worked off, beside the trace.
ALTER TABLE refreshes ADD deliveries TEXT;

UPDATE refreshes SET deliveries = delivery::text;

ALTER TABLE enrollments ADD deliveries TEXT;

ALTER TABLE recordings ADD deliveries TEXT;
