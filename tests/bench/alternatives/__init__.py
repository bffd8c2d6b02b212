"""What else one would write for the same task: small, honest programs that give the same promise, or openly less."""
