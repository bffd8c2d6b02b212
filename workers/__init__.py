"""Messages in, effects out: the consumer, the delivery log, the mirror, and the command line over both sides.

A delivery goes `consumer` ▶ `envelopes` ▶ `lane` ▶ `pipeline` ▶ `handlers/` ▶ `mirror/` ▶ `followups/`, in one transaction. Beside them
`refresher`, `scheduler` with `polls/`, `clock`, `relay`, `retention` and `erasures`, and what they ask: `vendors/`.
"""
