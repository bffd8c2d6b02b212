"""Courses: whatever goes wrong with whichever write, the learner has one seat, and the row knows whose it was."""

import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.states import EnrollmentState, EnrollmentWish, TargetKind
from tests.workers.followups.enrolling import (
    COURSE,
    LANDING,
    LEARNER,
    NOON,
    OPENED,
    SUBSCRIPTION,
    WRITE_FAULTS,
    Scene,
    enrolling,
    fault,
    told,
)
from workers.database import Database
from workers.followups.tables import Enrollment
from workers.simulators.anewspring.environment import Seat
from workers.simulators.faults import Instead

KIND, SEAT = TargetKind.COURSE, (LEARNER, COURSE)
LONG_AGO = OPENED - timedelta(days=300)


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        yield made


def seat(scene: Scene) -> Seat:
    return scene.environment.seats[SEAT]


def completed(scene: Scene, at: Any = LONG_AGO) -> None:
    """The learner completed the course then."""
    now, scene.time = scene.time, at
    scene.environment.subscribe(LEARNER, COURSE)
    scene.environment.complete(LEARNER, COURSE, 90)
    scene.time = now


async def test_a_learner_is_subscribed_with_the_dates_of_the_row(scene: Scene) -> None:
    await scene.wants(KIND, start_on=date(2026, 3, 5), expire_on=date(2026, 5, 1))
    await scene.work("lms")

    row = await scene.row()
    assert told(row.state, row.found, row.wish, row.due_at, row.enrolled_at) == ("enrolled", False, None, None, NOON)
    assert (seat(scene).start, seat(scene).expire, seat(scene).ended) == (date(2026, 3, 5), date(2026, 5, 1), False)
    assert scene.planner.asked == [("hse", f"{SUBSCRIPTION}-{LEARNER}")]
    assert await scene.moves() == ["requested", "enrolled"]


#: What is there before, and the writes that follow from it.
BEFORE = {
    "nothing": ("resubscribe", "subscribe"),
    "an old one that was ended": ("resubscribe", "subscribe"),
    "an old one, to be made anew": ("resubscribe", "unsubscribe"),
    "an old one, and its second write": ("resubscribe", "subscribe"),
    "an old one that is to be renewed": ("update", "updateSubscription"),
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("wrong", "landing"), LANDING)
async def test_every_fault_of_every_write_ends_in_one_seat(scene: Scene, before: str, wrong: str, landing: str) -> None:
    again, function = BEFORE[before]
    if before != "nothing":
        completed(scene)
    if before.endswith("ended"):
        seat(scene).ended = True
    scene.faults["lms"].on(fault(wrong, f"/api/{function}/*"))
    await scene.wants(KIND, terms={"again": again}, expire_on=date(2026, 5, 1))
    await scene.enroller.round(scene.account("lms"))
    if landing == "after the first look":
        scene.time += timedelta(minutes=2)
        await scene.enroller.round(scene.account("lms"))
        await scene.faults["lms"].land()
    await scene.work("lms")
    if landing == "at the end" and function != "unsubscribe":
        await scene.faults["lms"].land()

    row = await scene.row()
    assert told(row.state, row.found, row.wish) == ("enrolled", False, None), row.error
    assert (seat(scene).ended, seat(scene).expired, seat(scene).expire) == (False, False, date(2026, 5, 1))


@pytest.mark.parametrize("undo", ["unsubscribe", "expire"])
@pytest.mark.parametrize("wrong", WRITE_FAULTS)
async def test_every_fault_of_an_undo_ends_in_no_seat(scene: Scene, undo: str, wrong: str) -> None:
    wanted = await scene.wants(KIND, terms={"undo": undo})
    await scene.work("lms")
    scene.faults["lms"].on(fault(wrong, "/api/u*"))
    await scene.unwanted(wanted)
    await scene.work("lms")
    await scene.faults["lms"].land()

    row = await scene.row()
    assert told(row.state, row.wish) == ("undone", None)
    assert (seat(scene).ended, seat(scene).expired) == (undo == "unsubscribe", undo == "expire")


@pytest.mark.parametrize("wrong", WRITE_FAULTS)
async def test_a_score_is_given_once_whatever_goes_wrong(scene: Scene, wrong: str) -> None:
    scene.faults["lms"].on(fault(wrong, "/api/scoreExternalActivity/*"))
    await scene.wants(KIND, terms={"score": {"activity": "PRACTICE", "value": 80}})
    await scene.work("lms")
    await scene.faults["lms"].land()

    row = await scene.row()
    assert (row.state, row.found) == ("enrolled", False)
    assert [attempt.score for attempt in seat(scene).attempts[118]] == [80.0]


async def test_an_open_seat_is_found_and_never_undone(scene: Scene) -> None:
    scene.environment.subscribe(LEARNER, COURSE, expire=date(2026, 12, 1))
    wanted = await scene.wants(KIND, expire_on=date(2026, 5, 1))
    await scene.work("lms")
    found = await scene.row()
    await scene.unwanted(wanted)
    await scene.work("lms")

    assert (found.state, found.found, found.reason) == ("enrolled", True, "it was there already")
    assert (await scene.row()).state == EnrollmentState.CLOSED
    assert (seat(scene).ended, seat(scene).expire) == (False, date(2026, 12, 1))
    assert scene.faults["lms"].count("*", "POST") == 0


async def test_what_was_completed_in_this_cycle_is_found_as_it_is(scene: Scene) -> None:
    completed(scene, OPENED + timedelta(days=1))
    await scene.wants(KIND)
    await scene.work("lms")

    assert (await scene.row()).found is True
    assert scene.faults["lms"].count("*", "POST") == 0


async def test_a_seat_that_was_failed_in_the_round_before_is_not_this_rounds(scene: Scene) -> None:
    completed(scene, OPENED + timedelta(days=1))
    before = {"state": "closed", "state_at": OPENED + timedelta(days=2), "wish": None, "due_at": None}
    await scene.wants(KIND, **before)
    await scene.wants(KIND, round=2)
    await scene.work("lms")

    assert (await Enrollment.get(round=2)).found is False
    assert scene.faults["lms"].count("/api/unsubscribe/*") == scene.faults["lms"].count("/api/subscribe/*") == 1


@pytest.mark.parametrize(("again", "first"), [("resubscribe", "unsubscribe"), ("update", "updateSubscription")])
async def test_a_seat_of_the_same_day_is_not_taken_for_the_renewed_one_that_nobody_heard_of(scene: Scene, again: str, first: str) -> None:
    completed(scene, NOON - timedelta(minutes=30))
    scene.faults["lms"].on(fault("lost before", f"/api/{first}/*"))
    await scene.wants(KIND, opened_at=NOON - timedelta(minutes=10), terms={"again": again, "score": None, "undo": "unsubscribe"})
    await scene.work("lms")

    assert scene.faults["lms"].count(f"/api/{first}/*") == 2
    assert (seat(scene).start, seat(scene).ended) == (NOON.date() - timedelta(days=1), False)


async def test_a_seat_that_has_expired_is_renewed_without_its_old_last_day(scene: Scene) -> None:
    scene.environment.subscribe(LEARNER, COURSE, expire=date(2026, 2, 1))
    await scene.wants(KIND, terms={"again": "update"})
    await scene.work("lms")

    assert (seat(scene).expire, seat(scene).is_expired(NOON.date())) == (None, False)


async def test_what_is_asked_for_after_its_last_day_has_its_days_counted_anew(scene: Scene) -> None:
    days = {"terms": {"again": "update", "start_days": 2, "expire_days": 60}, "start_on": date(2026, 1, 3), "expire_on": date(2026, 3, 1)}
    await scene.wants(KIND, **days)
    scene.faults["lms"].on(fault("lost before", "/api/subscribe/*"))
    await scene.work("lms")

    row = await scene.row()
    assert told(row.state, row.wish, row.start_on, row.expire_on) == ("enrolled", None, date(2026, 3, 3), date(2026, 4, 30))
    assert (seat(scene).start, seat(scene).expire) == (date(2026, 3, 3), date(2026, 4, 30))


async def test_an_enrolled_one_is_extended(scene: Scene) -> None:
    wanted = await scene.wants(KIND, expire_on=date(2026, 5, 1))
    await scene.work("lms")
    wish = {"wish": EnrollmentWish.ENROLL.value, "due_at": scene.time}
    await Enrollment.filter(id=wanted).update(expire_on=date(2026, 7, 1), **wish)
    await scene.work("lms")

    row = await scene.row()
    assert told(row.state, row.found, row.wish) == ("enrolled", False, None)
    assert seat(scene).expire == date(2026, 7, 1)
    assert scene.faults["lms"].count("/api/subscribe/*") == 1


@pytest.mark.parametrize(
    ("terms", "before", "after"),
    [
        ({"unending": True}, (None, date(2026, 5, 1)), (None, None)),
        ({}, (None, date(2026, 5, 1)), (None, date(2026, 5, 1))),
        ({}, (date(2026, 3, 20), None), (date(2026, 3, 8), None)),
    ],
)
async def test_an_enrolled_one_has_the_days_that_are_wanted_by_now(scene: Scene, terms: Any, before: Any, after: Any) -> None:
    wanted = await scene.wants(KIND, start_on=before[0], expire_on=before[1])
    await scene.work("lms")
    wish = {"wish": EnrollmentWish.ENROLL.value, "due_at": scene.time}
    await Enrollment.filter(id=wanted).update(start_on=after[0], expire_on=None, terms=terms, **wish)
    await scene.work("lms")

    assert (seat(scene).start, seat(scene).expire) == after


@pytest.mark.parametrize(
    ("when", "kept"),
    [
        ({}, True),
        ({"completeDate": f"{OPENED:%Y-%m-%d}"}, True),
        ({"completeDate": f"{LONG_AGO:%Y-%m-%d}"}, False),
        ({"completeDateTime": f"{LONG_AGO:%Y-%m-%dT%H:%M:%SZ}"}, False),
    ],
)
async def test_what_may_have_been_completed_in_a_seat_is_not_undone(scene: Scene, when: dict[str, str], kept: bool) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("lms")
    said = {"id": COURSE, "active": True, "completed": True, "expired": False, "finished": False, "parts": [], **when}
    scene.faults["lms"].on(Instead(path="/api/getResults/*", status=200, body=json.dumps(said).encode()))
    await scene.unwanted(wanted)
    await scene.work("lms")

    assert ((await scene.row()).state, seat(scene).ended) == (("closed", False) if kept else ("undone", True))


async def test_a_page_that_a_proxy_answers_is_not_taken_for_the_vendors_word(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("lms")
    page = Instead(path="/api/*", status=404, headers={"content-type": "text/html"}, body=b"<html>no such site</html>", times=3)
    scene.faults["lms"].on(page)
    await scene.unwanted(wanted)
    await scene.enroller.round(scene.account("lms"))
    between = await scene.row()
    await scene.work("lms")

    assert told(between.state, between.wish) == ("enrolled", "undo")
    assert told((await scene.row()).state, seat(scene).ended) == ("undone", True)


async def test_what_was_completed_is_not_undone(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("lms")
    scene.environment.complete(LEARNER, COURSE, 90)
    await scene.unwanted(wanted)
    await scene.work("lms")

    row = await scene.row()
    assert (row.state, row.reason) == ("closed", "completed, so it stays")
    assert not seat(scene).ended


@pytest.mark.parametrize(
    ("status", "words"),
    [(409, "the user is archived"), (400, "startDate does not contain an ISO8601 date value: x"), (404, "no users exist")],
)
async def test_what_can_never_be_is_dead_with_the_vendors_words(scene: Scene, status: int, words: str) -> None:
    scene.faults["lms"].on(Instead(path="/api/subscribe/*", status=status, body=words.encode()))
    await scene.wants(KIND)
    await scene.work("lms")

    row = await scene.row()
    assert told(row.state, row.wish, SEAT in scene.environment.seats) == ("dead", None, False)
    assert words in str(row.reason)
    assert scene.planner.asked


async def test_an_unknown_learner_is_dead(scene: Scene) -> None:
    await scene.wants(KIND, learner="nobody")
    await scene.work("lms")

    assert "no users exist" in str((await scene.row()).reason)


async def test_somebody_who_was_faster_is_found(scene: Scene) -> None:
    """Between our look and our request somebody subscribed the learner."""
    scene.faults["lms"].on(Instead(path="/api/getResults/*", status=404, body=b"not subscribed"))
    scene.environment.subscribe(LEARNER, COURSE)
    await scene.wants(KIND)
    await scene.work("lms")

    row = await scene.row()
    assert (row.state, row.found) == ("enrolled", True)


async def test_a_request_that_lands_after_it_was_given_up_is_taken_back(scene: Scene) -> None:
    scene.faults["lms"].on(fault("lands late", "/api/subscribe/*"))
    wanted = await scene.wants(KIND)
    await scene.enroller.round(scene.account("lms"))
    await scene.unwanted(wanted)
    await scene.enroller.round(scene.account("lms"))
    waiting = await scene.row()
    await scene.faults["lms"].land()
    await scene.work("lms")

    assert (waiting.state, waiting.error) == ("requested", "a request of ours may still land")
    assert (await scene.row()).state == "undone"
    assert seat(scene).ended
