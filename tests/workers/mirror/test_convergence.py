"""Whatever becomes of webhooks and whenever muster fetches, the mirror ends as the vendor is; what webhooks that were lost would have told
is what reconcile finds, and nothing else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from tests.workers.mirror.world import TOLD, UNTOLD, Change, Fate, World, worlds
from tests.workers.vendors.acme import OFFICE, OTHER_OFFICE
from workers.database import Database

#: Something that happens: a Change, one that happens while muster is asking, or a step of muster's with a number.
Step = Change | tuple[str, Any]
NewWorld = Callable[[], Awaitable[World]]


@pytest_asyncio.fixture
async def new_world(database: Database, tmp_path: Path) -> AsyncIterator[NewWorld]:
    """Makes worlds, one an example."""
    async with worlds(database, tmp_path) as made:
        yield made


_number = st.integers(0, 9)


def _changes(verbs: Sequence[str], *fates: Fate) -> st.SearchStrategy[Change]:
    return st.builds(Change, st.sampled_from(verbs), _number, _number, st.lists(st.sampled_from(fates), min_size=1, max_size=3).map(tuple))


def stories(changes: st.SearchStrategy[Change]) -> st.SearchStrategy[list[Step]]:
    """Subscriptions and certificates to begin with, then anything in any order."""
    begun = [Change(verb, n, n, ("handled",)) for n in range(3) for verb in ("hire", "subscribe", "subscribe", "certify")]
    muster = st.tuples(st.sampled_from(["arrive", "dequeue", "repeat"]), _number) | st.just(("fetch", 0))
    passing = st.tuples(st.just("wait"), st.sampled_from([0.5, 4.9, 5.1, 60.0]))
    skew = st.tuples(st.just("skew"), st.sampled_from([-4, 0, 4]))
    step = changes | changes | skew | st.tuples(st.just("meanwhile"), changes) | muster | passing
    overtaken = st.builds(lambda one, other: [one, ("wait", 5.1), ("meanwhile", replace(one, other=other)), ("fetch", 0)], changes, _number)
    parts = step.map(lambda one: [one]) | overtaken
    return st.lists(parts, min_size=1, max_size=12).map(lambda steps: [*begun, ("settle", 0), *chain.from_iterable(steps)])


async def happen(world: World, story: Sequence[Step]) -> None:
    """Let a story happen, and all that it set going come to rest."""
    for step in story:
        match step:
            case Change():
                await world.change(step)
            case ("meanwhile", change):
                world.meanwhile.append(change)
            case ("wait", seconds):
                world.clock.go_on(seconds)
            case ("skew", seconds):
                world.skew = seconds
            case ("fetch" | "settle" as name, _):
                await getattr(world, name)()
            case (name, number):
                await getattr(world, name)(number)
    await world.settle()


async def assert_alike(world: World, gone: SubscriptionState = SubscriptionState.DELETED) -> None:
    """The mirror shows what the vendor shows, in every field; all else is gone."""
    mirrored, shown = await world.mirrored(), world.shows()
    live = {subject: fields for subject, (state, fields) in mirrored.items() if state == SubscriptionState.LIVE}

    assert live == {subject: {name: row[name] for name in SUBSCRIPTION_FIELDS} for subject, row in shown.items()}
    assert {state for state, _ in mirrored.values()} <= {SubscriptionState.LIVE, gone}


RANDOMLY = settings(max_examples=15, suppress_health_check=list(HealthCheck))
EVERY_FATE: tuple[Fate, ...] = ("handled", "queued", "late", "doubled", "lost")


@RANDOMLY
@given(stories(_changes([*TOLD], "handled", "queued", "late", "doubled")))
async def test_where_no_webhook_is_lost_the_mirror_ends_as_the_vendor_is_by_itself(new_world: NewWorld, story: list[Step]) -> None:
    world = await new_world()
    await happen(world, story)
    await assert_alike(world)
    run = await world.reconcile()

    assert await world.drift(run) == {}


@RANDOMLY
@given(stories(_changes([*TOLD], *EVERY_FATE)))
async def test_reconcile_finds_exactly_what_lost_webhooks_would_have_told_and_mends_it(new_world: NewWorld, story: list[Step]) -> None:
    world = await new_world()
    await happen(world, story)
    expected, known, told = world.unknown(), dict(world.known), {subject: list(them) for subject, them in world.unshown.items()}
    run = await world.reconcile()

    assert await world.drift(run) == expected
    assert (run.missing, run.extra, run.different) == tuple(
        sum(kind == one for kind, _ in expected.values()) for one in ("missing", "extra", "different")
    )
    for subject in expected:
        about = known.get(subject) or world.shows()[subject]
        assert any(webhook.fate == "lost" for webhook in told[subject])
        assert not [webhook for webhook in told[subject] if webhook.fate != "lost" and webhook.tells_of(about)]
    await assert_alike(world)
    assert await world.drift(await world.reconcile()) == {}, "and there is nothing left to find"


@RANDOMLY
@given(stories(_changes([*TOLD, *UNTOLD], *EVERY_FATE)))
async def test_what_no_webhook_tells_of_is_found_and_mended_too(new_world: NewWorld, story: list[Step]) -> None:
    world = await new_world()
    await happen(world, story)
    expected = world.unknown()
    run = await world.reconcile()

    assert await world.drift(run) == expected
    await assert_alike(world)


@RANDOMLY
@given(stories(_changes([*TOLD], *EVERY_FATE)), st.sampled_from([OFFICE, OTHER_OFFICE]), st.sampled_from([403, 404]), st.data())
async def test_rights_withdrawn_for_an_office_delete_nothing_in_it(
    new_world: NewWorld, story: list[Step], office: str, status: int, data: st.DataObject
) -> None:
    world = await new_world()
    at = data.draw(st.integers(13, len(story)))
    await happen(world, story[:at])
    await world.reconcile()
    there = {subject for subject, row in world.shows().items() if row["subtenant_id"] == office}
    world.tenancy.withdraw(office, status)
    await happen(world, [Change("rename", person, 9, ("handled",)) for person in range(9)])
    await world.reconcile()
    states = {subject: state for subject, (state, _) in (await world.mirrored()).items()}

    assert {states[subject] for subject in there} == {SubscriptionState.MISSING}

    world.tenancy.restore(office)
    await happen(world, story[at:])
    await world.reconcile()
    await assert_alike(world)
