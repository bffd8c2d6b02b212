"""A replay whose processes are killed, in the gate's size."""

from tests.faults.holding import holds
from tests.faults.trial import Ground


async def test_a_killed_embedded_replay_is_taken_up_and_each_delivery_replayed_once(embedded_ground: Ground) -> None:
    await holds("replay-embedded", embedded_ground)


async def test_a_killed_replay_is_taken_up_and_each_delivery_replayed_once(ground: Ground) -> None:
    await holds("replay", ground)
