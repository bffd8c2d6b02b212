"""The vendors as small servers that behave as their documents say, oddities and faults included; for the demo and the tests."""
