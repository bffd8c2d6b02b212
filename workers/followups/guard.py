"""The guard: what could harm many people at once is held until somebody says yes."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.states import NeedState

#: What a move counts as: a seat is to be asked for, or to be given back; others change nothing at a vendor.
ENROLLING, UNDOING = NeedState.PLANNED, NeedState.UNDONE


@dataclass(frozen=True, slots=True)
class Room:
    """How many more needs a rule may plan, and undo, before a person is asked."""

    enrolling: int
    undoing: int

    def lets(self, before: "Room", after: "Room") -> bool:
        """Whether there is room for what was taken between these two."""
        return self.enrolling >= before.enrolling - after.enrolling and self.undoing >= before.undoing - after.undoing


def room(max_per_hour: int, moved: Mapping[str, int]) -> Room:
    """What an hour leaves to a rule whose needs moved so often into each state in it (`workers.followups.moves.last_hour`)."""
    return Room(max(0, max_per_hour - moved.get(ENROLLING, 0)), max(0, max_per_hour - moved.get(UNDOING, 0)))
