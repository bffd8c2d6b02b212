"""Follow-ups while everything around them dies, in the gate's size."""

from tests.faults.holding import holds
from tests.faults.trial import Ground


async def test_each_follow_up_of_embedded_muster_happens_once_whatever_dies(embedded_ground: Ground) -> None:
    await holds("followups-embedded", embedded_ground)


async def test_each_follow_up_happens_once_whatever_dies(ground: Ground) -> None:
    await holds("followups", ground)
