"""A scenario in the gate's size: nothing is lost or refused, and the faults did hit work in flight."""

from tests.faults.__main__ import table
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Ground

#: The long run, `python -m tests.faults`, has fifty.
KILLS = 3


async def holds(name: str, ground: Ground) -> None:
    """Run a scenario and hold its figures against what they have to be."""
    figures = await SCENARIOS[name](ground)
    print(f"\nFAULTS_SEED={ground.seed}\n{table([figures])}", *figures.notes, *figures.problems, sep="\n")  # noqa: T201 - shown if it fails, or with -s

    assert figures.problems == []
    assert figures.acknowledged > 0
    assert (figures.lost, figures.refused) == (0, 0)
    assert figures.hit >= {"broker": 4, "alarm": 1, "database": 3}.get(name, KILLS)
