"""The local compliance mirror: rows keyed (account, vendor's id), converging whatever the order of the evidence."""
