"""Faults under load: processes killed, servers stopped, and a ledger of what was acknowledged. `python -m tests.faults`.

Of follow-ups, with vendors that fail in every way: `python -m tests.faults followups followups-embedded`; of `muster replay`:
`python -m tests.faults replay replay-embedded`.
"""
