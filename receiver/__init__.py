"""HTTP in, one durable message out: verify raw bytes, hand them to the broker or the spool, acknowledge. Nothing is parsed here."""
