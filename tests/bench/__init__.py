"""Measurements, side by side with the alternatives in one run: `python -m tests.bench SUBJECT`."""
