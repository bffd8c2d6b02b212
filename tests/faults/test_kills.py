"""Processes killed with -9 under load, in the gate's size."""

import pytest

from tests.faults.holding import holds
from tests.faults.trial import Ground


async def test_killed_embedded_muster_loses_nothing(embedded_ground: Ground) -> None:
    await holds("embedded", embedded_ground)


@pytest.mark.parametrize("name", ["receiver", "worker"])
async def test_a_killed_process_loses_nothing(name: str, ground: Ground) -> None:
    await holds(name, ground)
