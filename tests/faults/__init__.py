"""Faults under load: processes killed, servers stopped, and a ledger of what was acknowledged. `python -m tests.faults`."""
