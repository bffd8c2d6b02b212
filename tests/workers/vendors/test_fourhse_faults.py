"""Every fault switch on every write: done once or not at all, never twice, never lost; what is unknown is looked up by our own id."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.workers.vendors.acme import ACTION, ENROLLMENT, HASTY, PERSON, PLACE, SESSION, SUBSCRIPTION, Stage, populated, staged
from workers.simulators.faults import Broken, Dropped, Fault, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.vendors.errors import Conflict, NotFound, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.fourhse import Fourhse, Resource

#: The switch, what the write ends with (None: it is done), how many requests it takes, and whether it was done by then.
FAULTS: Mapping[str, tuple[Fault, type[VendorError] | None, int, bool]] = {
    "slow": (Slow(seconds=0.02), None, 1, True),
    "throttled once": (TooMany(retry_after="0"), None, 2, True),
    "throttled without a word": (TooMany(), None, 2, True),
    "throttled for long": (TooMany(retry_after="3600"), Throttled, 1, False),
    "unavailable once": (Broken(status=503, retry_after="0"), None, 2, True),
    "unavailable for long": (Broken(status=503, retry_after="3600"), Unavailable, 1, False),
    "unavailable without a word": (Broken(status=503), UnknownOutcome, 1, False),
    "broken before": (Broken(), UnknownOutcome, 1, False),
    "broken after": (Broken(status=502, done=True), UnknownOutcome, 1, True),
    "silent before": (LostBefore(), UnknownOutcome, 1, False),
    "silent after": (LostAfter(), UnknownOutcome, 1, True),
    "lands after the look-up": (LandsLate(), UnknownOutcome, 1, False),
    "dropped before": (Dropped(), UnknownOutcome, 1, False),
    "dropped after": (Dropped(done=True), UnknownOutcome, 1, True),
}
NEW = "11111111-2222-4333-8444-555555555555"
#: What each kind is created with, the entity that is there already, and a change to it.
KINDS: Mapping[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "action-subscription": (
        {"action_id": ACTION, "subscriber_id": "other", "subscriber_type": "PERSON", **PLACE},
        SUBSCRIPTION,
        {"action_id": ACTION, "subscriber_id": PERSON, "subscriber_type": "PERSON", **PLACE, "data": {"note": "urgent"}},
    ),
    "action-session-subscription": (
        {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE},
        ENROLLMENT,
        {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE, "done": 1},
    ),
}
each = pytest.mark.parametrize("name", FAULTS)
both = pytest.mark.parametrize("kind", KINDS)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Acme with John Smith subscribed and enrolled."""
    async with staged(tmp_path, populated()) as made:
        yield made


async def attempt(stage: Stage, name: str, kind: str, verb: str) -> Resource:
    """Do a write while the switch is on; what it ends with, and how often it was sent, is as the table says."""
    fault, error, requests, done = FAULTS[name]
    path = f"/v2/{kind}/{verb}*"
    stage.faults.on(replace(fault, path=path))
    async with stage.client(HASTY) as client:
        if error is None:
            await write(client, kind, verb)
        else:
            with pytest.raises(error) as caught:
                await write(client, kind, verb)
            assert type(caught.value) is error
            assert verb != "create" or error is not UnknownOutcome or NEW in str(caught.value)

    assert stage.faults.count(path) == requests, "nothing is tried blindly"
    assert bool(effects(stage, kind, verb)) is done
    return client.resources[kind]


async def write(client: Fourhse, kind: str, verb: str) -> None:
    """The write that each verb stands for."""
    resource, (new, known, change) = client.resources[kind], KINDS[kind]
    match verb:
        case "create":
            await resource.create({resource.shape.id: NEW} | new)
        case "update":
            await resource.update(known, change)
        case _:
            await resource.delete(known)


def effects(stage: Stage, kind: str, verb: str) -> list[str]:
    """The ids that this verb was done to, as often as it was."""
    return [id_ for done, path, id_ in stage.tenancy.journal if (done, path) == (verb.upper(), kind)]


@each
@both
async def test_a_create_that_is_looked_up_by_our_id_before_it_is_tried_again_is_done_once(stage: Stage, name: str, kind: str) -> None:
    await attempt(stage, name, kind, "create")
    async with stage.client() as client:
        try:
            row = await client.resources[kind].view(NEW)
        except NotFound:
            await write(client, kind, "create")
            row = await client.resources[kind].view(NEW)
    await stage.faults.land()

    assert effects(stage, kind, "create") == [NEW]
    assert KINDS[kind][0].items() <= row.items()


@both
async def test_a_create_that_lands_between_the_look_up_and_the_second_try_is_a_conflict_and_one_row(stage: Stage, kind: str) -> None:
    await attempt(stage, "lands after the look-up", kind, "create")
    async with stage.client() as client:
        with pytest.raises(NotFound):
            await client.resources[kind].view(NEW)
        await stage.faults.land()
        with pytest.raises(Conflict):
            await write(client, kind, "create")

    assert effects(stage, kind, "create") == [NEW]


@each
@both
async def test_an_update_that_is_looked_up_before_it_is_tried_again_ends_as_it_was_meant(stage: Stage, name: str, kind: str) -> None:
    await attempt(stage, name, kind, "update")
    _, known, change = KINDS[kind]
    async with stage.client() as client:
        if not change.items() <= (await client.resources[kind].view(known)).items():
            await write(client, kind, "update")
    await stage.faults.land()

    late = name == "lands after the look-up"
    assert effects(stage, kind, "update") == [known] * (2 if late else 1), "one that lands late says the same again"
    assert change.items() <= stage.tenancy.row(kind, known).items()


@each
@both
async def test_a_delete_that_is_looked_up_before_it_is_tried_again_is_done_once(stage: Stage, name: str, kind: str) -> None:
    await attempt(stage, name, kind, "delete")
    known = KINDS[kind][1]
    async with stage.client() as client:
        try:
            await client.resources[kind].view(known)
        except NotFound:
            pass
        else:
            await write(client, kind, "delete")
    await stage.faults.land()

    assert effects(stage, kind, "delete") == [known]


@each
async def test_a_read_outlives_every_fault_that_passes(stage: Stage, name: str) -> None:
    fault, error, _, _ = FAULTS[name]
    stage.faults.on(fault)
    async with stage.client(HASTY) as client:
        if "for long" in name:
            assert error is not None
            with pytest.raises(error):
                await client.resources["person"].view(PERSON)
        assert (await client.resources["person"].view(PERSON))["code"] == "JS001"
