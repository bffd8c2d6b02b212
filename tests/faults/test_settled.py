"""That a run is over only once all is as it was meant and stays so."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.faults.followups import settled


def looks(*found: list[str]) -> Callable[[], Awaitable[list[str]]]:
    """One after the other; the last stays."""

    def each() -> Iterator[list[str]]:
        yield from found
        while True:
            yield found[-1]

    given = each()

    async def look() -> list[str]:
        return next(given)

    return look


@pytest.mark.parametrize(
    ("found", "ends"),
    [
        ([["late"], []], []),
        ([["late"], [], [], ["twice"]], ["twice"]),
        ([[], ["undone"], []], []),
        ([["lost"]], ["lost"]),
    ],
    ids=["what comes late is waited for", "what is done twice is seen later", "what is put right is right", "what never comes is lost"],
)
async def test_a_run_settles_when_nothing_changes_any_more(found: list[list[str]], ends: list[str]) -> None:
    assert await settled(looks(*found), standstill=0.2, calm=0.1) == ends
