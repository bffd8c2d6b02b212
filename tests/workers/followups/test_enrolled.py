"""Planner and enroller together: what the mirror says becomes one seat at the vendor, and is given back once nobody needs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.rules import Rule
from schemas.states import RefreshKind
from tests.workers.followups.enrolling import COURSE, LEARNER, OFFICE, Scene, enrolling
from tests.workers.followups.mirrored import filled, rule, subscription
from workers.database import Database
from workers.followups import rule_states
from workers.followups.enroller import Enroller
from workers.followups.plan import Followups
from workers.followups.tables import Enrollment, Need
from workers.mirror.apply import Mirror
from workers.mirror.reconcile import reconcile
from workers.mirror.runs import Asked
from workers.mirror.tables import ActionSubscription
from workers.operations.followups import cancel, release
from workers.refresher import Refresher
from workers.simulators.faults import Slow

SEAT = (LEARNER, COURSE)
FIRE = rule(undo="unsubscribe")
SMOKE = rule("smoke", undo="unsubscribe", when={"action_code": "SMK-*"})


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        await filled()
        yield made


async def ruled(scene: Scene, *rules: Rule) -> Followups:
    """These rules are applied, and the enroller plans by them."""
    async with scene.database.transaction() as connection:
        await rule_states.apply(connection, scene.database.dialect, rules, scene.time)
    made = Followups(rules, {one.name: one.settings for one in scene.accounts})
    scene.enroller = Enroller(scene.database, scene.accounts, made, scene.now)
    return made


async def plan(scene: Scene, followups: Followups, *subscriptions: str) -> None:
    async with scene.database.transaction() as connection:
        await followups.plan(connection, scene.database.dialect, [("hse", one) for one in subscriptions], scene.time)


async def mirrored(name: str, code: str = "FST-01") -> None:
    await subscription(name, action_code=code, subscriber_id="p1", subscriber_code=LEARNER, first_seen_at="2026-02-01T00:00:00+00:00")


async def gone(scene: Scene, followups: Followups, *subscriptions: str) -> None:
    """4HSE's API says that they are deleted."""
    rows = ActionSubscription.filter(action_subscription_id__in=subscriptions)
    await rows.update(state="deleted", fetch_covers=scene.time)
    await plan(scene, followups, *subscriptions)


async def states(*names: str) -> list[str]:
    return [(await Need.get(action_subscription_id=name)).state for name in names]


async def test_a_need_becomes_a_seat_and_its_end_gives_the_seat_back(scene: Scene) -> None:
    followups = await ruled(scene, FIRE)
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")
    seated = await states("s1"), scene.environment.seats[SEAT].ended
    await gone(scene, followups, "s1")
    await scene.work("lms")

    assert seated == (["enrolled"], False)
    assert await states("s1") == ["undone"]
    assert (scene.environment.seats[SEAT].ended, (await Enrollment.get()).state) == (True, "undone")
    assert scene.faults["lms"].count("/api/unsubscribe/*") == 1


@pytest.mark.parametrize("first", ["s1", "s2", "both"])
async def test_two_actions_on_one_course_share_the_seat_until_neither_needs_it(scene: Scene, first: str) -> None:
    followups = await ruled(scene, FIRE, SMOKE)
    await mirrored("s1")
    await mirrored("s2", "SMK-01")
    await plan(scene, followups, "s1", "s2")
    await scene.work("lms")
    assert (await states("s1", "s2"), scene.faults["lms"].count("/api/subscribe/*")) == (["enrolled", "enrolled"], 1)
    if first != "both":
        await gone(scene, followups, first)
        await scene.work("lms")
        assert not scene.environment.seats[SEAT].ended
    await gone(scene, followups, "s1", "s2")
    await scene.work("lms")

    assert (await states("s1", "s2"), scene.environment.seats[SEAT].ended) == (["undone", "undone"], True)
    assert scene.faults["lms"].count("/api/unsubscribe/*") == 1


async def test_planners_and_enrollers_at_once_end_in_one_seat_and_none(scene: Scene) -> None:
    followups = await ruled(scene, FIRE, SMOKE)
    names = [f"s{number}" for number in range(6)]
    for number, name in enumerate(names):
        await mirrored(name, "FST-01" if number % 2 else "SMK-01")
    scene.faults["lms"].on(Slow(path="/api/subscribe/*", seconds=0.1))
    await asyncio.gather(*(plan(scene, followups, name) for name in names), *(scene.enroller.round(scene.account("lms")) for _ in range(3)))
    await scene.work("lms")
    assert (await states(*names), scene.faults["lms"].count("/api/subscribe/*")) == (["enrolled"] * 6, 1)
    await asyncio.gather(*(gone(scene, followups, name) for name in names), scene.enroller.round(scene.account("lms")))
    await scene.work("lms")

    assert (await states(*names), scene.environment.seats[SEAT].ended) == (["undone"] * 6, True)


async def test_a_second_need_shortens_no_seat_that_was_found(scene: Scene) -> None:
    scene.environment.subscribe(*SEAT, expire=date(2026, 12, 1))
    short, long = ({"account": "lms", "course": COURSE, "expire": days} for days in ("60d", "90d"))
    followups = await ruled(scene, rule(enroll=short), rule("smoke", enroll=long, when={"action_code": "SMK-*"}))
    for name, code in (("s1", "FST-01"), ("s2", "SMK-01")):
        await mirrored(name, code)
        await plan(scene, followups, name)
        await scene.work("lms")

    assert (await states("s1", "s2"), scene.environment.seats[SEAT].expire) == (["enrolled", "enrolled"], date(2026, 12, 1))
    assert scene.faults["lms"].count("*", "POST") == 0


@pytest.mark.parametrize("found", [True, False])
async def test_a_score_that_only_the_second_need_wants_is_given_once(scene: Scene, found: bool) -> None:
    if found:
        scene.environment.subscribe(*SEAT, expire=date(2026, 12, 1))
    scored = {"account": "lms", "course": COURSE, "score": {"activity": "PRACTICE", "value": 80}}
    followups = await ruled(scene, FIRE, rule("smoke", enroll=scored, when={"action_code": "SMK-*"}))
    for name, code in (("s1", "FST-01"), ("s2", "SMK-01"), ("s3", "SMK-01")):
        await mirrored(name, code)
        await plan(scene, followups, name)
        await scene.work("lms")
    seat = scene.environment.seats[SEAT]

    assert (await states("s1", "s2", "s3"), (await Enrollment.get()).found) == (["enrolled"] * 3, found)
    assert [attempt.score for attempt in seat.attempts[118]] == [80.0]
    assert seat.expire == (date(2026, 12, 1) if found else None)


async def test_whom_4hse_does_not_show_any_more_is_unsubscribed_only_once_a_person_accepts_that(scene: Scene) -> None:
    followups = await ruled(scene, rule(undo="unsubscribe", when={}))
    mirror = Mirror(frozenset({"hse", "lms"}), timedelta(0), followups=followups, now=scene.now)

    async def reconciled(**how: Any) -> tuple[str, str, bool]:
        """What a reconcile makes of the row, its need and its seat."""
        scene.time += timedelta(minutes=1)
        await reconcile(scene.database, mirror, scene.account("hse"), Asked(), scene.now, **how)
        await scene.work("lms")
        row, need = await ActionSubscription.get(), await Need.get()
        return row.state, need.state, scene.environment.seats[SEAT].ended

    assert await reconciled() == ("live", "enrolled", False)
    scene.tenancy.withdraw(OFFICE)
    assert await reconciled() == ("missing", "enrolled", False)
    assert await reconciled(accept_missing=True) == ("deleted", "undone", True)


async def test_what_the_vendor_refuses_makes_the_need_dead_in_its_words(scene: Scene) -> None:
    followups = await ruled(scene, FIRE)
    await subscription("s1", subscriber_id="p9", subscriber_code="nobody")
    await plan(scene, followups, "s1")
    await scene.work("lms")

    need = await Need.get()
    assert (need.state, "no users exist" in str(need.reason)) == ("dead", True)


async def test_what_is_cancelled_is_given_back_and_not_planned_anew(scene: Scene) -> None:
    followups = await ruled(scene, FIRE)
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")
    await cancel(scene.database, followups, await Need.all(), scene.time, "ada", "not this year")
    await scene.work("lms")
    await plan(scene, followups, "s1")

    assert (await states("s1"), scene.environment.seats[SEAT].ended) == (["undone"], True)


@pytest.mark.parametrize("held", ["approval", "guard"])
async def test_what_is_held_goes_on_once_it_is_released(scene: Scene, held: str) -> None:
    approve = rule(enroll={"account": "lms", "course": COURSE, "approve": True})
    followups = await ruled(scene, approve if held == "approval" else rule(max_per_hour=1))
    if held == "guard":
        await subscription("s0", subscriber_id="p0", subscriber_code="AB002")
        await plan(scene, followups, "s0")
    await mirrored("s1")
    await plan(scene, followups, "s1")
    with suppress(AssertionError):
        await scene.work("lms", 1)
    before = await states("s1"), SEAT in scene.environment.seats
    released = await release(scene.database, followups, await Need.filter(state="held"), scene.time, "ada")
    await scene.work("lms")

    assert before == (["held"], False)
    assert len(released) == 1
    assert (await states("s1"), scene.environment.seats[SEAT].ended) == (["enrolled"], False)


def reached_before(scene: Scene, days: int = 40) -> None:
    """The learner passed the course so long ago, and muster never heard of it."""
    now, scene.time = scene.time, scene.time - timedelta(days=days)
    scene.environment.subscribe(*SEAT)
    scene.environment.complete(*SEAT, 95)
    scene.time = now


async def fetched(scene: Scene, followups: Followups) -> None:
    """What is to be fetched of the LMS is."""
    mirror = Mirror(frozenset({"hse", "lms"}), followups=followups, now=scene.now)
    await Refresher(scene.database, mirror, scene.accounts, scene.now).round(scene.account("lms"), RefreshKind.COURSE_RESULT)


def accepting(again: str, name: str = "fire", since: str = "2026-01-01", **more: Any) -> Rule:
    enroll = {"account": "lms", "course": COURSE, "again": again}
    return rule(name, undo="unsubscribe", enroll=enroll, **{"pass": {"accept_since": since}, **more})


@pytest.mark.parametrize("again", ["update", "resubscribe"])
async def test_a_pass_that_the_rule_accepts_is_found_and_counts_though_nobody_told_of_it(scene: Scene, again: str) -> None:
    reached_before(scene)
    followups = await ruled(scene, accepting(again))
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")
    await fetched(scene, followups)

    assert await states("s1") == ["passed"]
    assert scene.faults["lms"].count("*", "POST") == 0


async def test_a_pass_from_before_the_day_that_is_accepted_is_not_found(scene: Scene) -> None:
    reached_before(scene)
    followups = await ruled(scene, accepting("resubscribe", since="2026-01-21"))
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")

    assert (await Enrollment.get()).found is False
    assert scene.faults["lms"].count("/api/unsubscribe/*") == 1


async def test_a_pass_that_certified_an_earlier_cycle_is_not_found_though_its_day_is_accepted(scene: Scene) -> None:
    reached_before(scene)
    followups = await ruled(scene, accepting("resubscribe", record={}))
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")
    await fetched(scene, followups)
    scene.time += timedelta(days=300)
    shown = {"status": "EXPIRING", "last_certificate_id": "c1", "certificate_date_release": date(2026, 1, 20)}
    await ActionSubscription.all().update(**shown)
    await plan(scene, followups, "s1")
    await scene.work("lms")

    assert [(row.round, row.state, row.found) for row in await Enrollment.all().order_by("round")] == [
        (1, "closed", True),
        (2, "enrolled", False),
    ]


async def test_a_pass_that_one_of_two_rules_accepts_is_fetched_before_the_other_takes_the_course_anew(scene: Scene) -> None:
    reached_before(scene)
    smoke = rule("smoke", when={"action_code": "SMK-*"}, enroll={"account": "lms", "course": COURSE, "again": "resubscribe"})
    followups = await ruled(scene, accepting("resubscribe"), smoke)
    await mirrored("s1")
    await mirrored("s2", "SMK-01")
    await plan(scene, followups, "s1", "s2")
    for _ in range(3):
        await scene.enroller.round(scene.account("lms"))
        scene.time += timedelta(minutes=1)
        await fetched(scene, followups)
    await scene.work("lms")

    assert await states("s1", "s2") == ["passed", "enrolled"]
    assert scene.faults["lms"].count("/api/unsubscribe/*") == 1
