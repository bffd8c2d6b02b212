"""Broker and database stopped, killed, frozen and blocked under load, in the gate's size."""

import pytest

from tests.faults.holding import holds
from tests.faults.trial import Ground


@pytest.mark.parametrize("name", ["broker", "alarm", "database"])
async def test_no_outage_loses_or_refuses_a_delivery(name: str, ground: Ground) -> None:
    await holds(name, ground)
