"""Messages in, effects out: the consumer, the delivery log, the mirror, and the command line over both sides."""
