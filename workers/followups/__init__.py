"""Follow-ups: what the mirror says leads to the right enrollment, once, and what the vendors say of results comes back to the schedule."""
