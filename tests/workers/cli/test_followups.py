"""`muster followups` as a real command."""

from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from tests.workers.cli.ruled import Desk, ruled
from tests.workers.followups.mirrored import need, rule, subscription
from workers.followups.case import CANCELLED, GUARD_ENROLLING
from workers.followups.tables import FollowupMove, NeedTarget

HELD, LATE = uuid4(), uuid4()


@pytest_asyncio.fixture
async def desk(tmp_path: Path, database_url: str) -> Desk:
    """A need that the guard holds, and one that is overdue."""
    made = await ruled(tmp_path, database_url)
    await made.stored(
        lambda: subscription("a"),
        lambda: subscription("b"),
        lambda: need("a", rule(), id=HELD, state="held", reason=GUARD_ENROLLING),
        lambda: need("b", rule(), id=LATE, state="overdue", reason="it was due by 2026-02-01", alarm="look at it"),
        lambda: NeedTarget.create(need=HELD, step=0, state="held"),
        lambda: NeedTarget.create(need=LATE, step=0, state="planned"),
        lambda: FollowupMove.create(need=HELD, rule="fire", state="held", reason=GUARD_ENROLLING, at="2026-03-01T12:00:00+00:00"),
    )
    return made


async def test_they_are_listed_with_state_and_reason_and_filtered(desk: Desk) -> None:
    listed = await desk.muster("followups", "list")
    late = (await desk.muster("followups", "list", "--overdue", "--json")).json
    held = (await desk.muster("followups", "list", "--state", "held", "--rule", "fire", "--subscription", "a", "--json")).json
    none = (await desk.muster("followups", "list", "--rule", "water", "--json")).json

    alarms = (await desk.muster("followups", "list", "--alarms", "--json")).json
    status = await desk.muster("status")

    assert [(one["id"], one["alarm"]) for one in alarms] == [(str(LATE), "look at it")]
    assert "it was due by 2026-02-01; look at it" in listed.out
    assert "overdue 1  alarms 1" in status.out
    assert {line.split()[0] for line in listed.out.splitlines()[1:]} == {str(HELD), str(LATE)}
    assert GUARD_ENROLLING in listed.out
    assert [(one["id"], one["reason"]) for one in late] == [(str(LATE), "it was due by 2026-02-01")]
    assert ([one["id"] for one in held], none) == ([str(HELD)], [])


async def test_one_is_shown_with_its_moves(desk: Desk) -> None:
    shown, said = await desk.muster("followups", "show", str(HELD)), (await desk.muster("followups", "show", str(HELD), "--json")).json
    nobody = await desk.muster("followups", "show", str(uuid4()))

    assert "moved to" in shown.out
    assert [(one["state"], one["reason"]) for one in said["moves"]] == [("held", GUARD_ENROLLING)]
    assert [one["state"] for one in said["targets"]] == ["held"]
    assert (nobody.code, nobody.err.startswith("muster: there is no follow-up")) == (1, True)


async def test_what_is_held_is_released_once_somebody_says_yes(desk: Desk) -> None:
    refused = await desk.muster("followups", "release", str(HELD), answer="n\n")
    done = await desk.muster("followups", "release", "--rule", "fire", answer="y\n")

    assert (refused.code, done.code) == (1, 0), done.err
    assert "Release 1?" in done.err
    assert "release: 1" in done.out
    assert str(LATE) not in done.out


async def test_what_is_cancelled_stays_undone(desk: Desk) -> None:
    done = await desk.muster("followups", "cancel", "--rule", "fire", "--yes", "--reason", "the course is closed", "--json")
    again = await desk.muster("followups", "cancel", str(HELD), "--yes")
    moves = (await desk.muster("followups", "show", str(LATE), "--json")).json["moves"]

    assert done.code == 0, done.err
    assert {(one["id"], one["state"], one["reason"]) for one in done.json} == {(str(one), "undone", CANCELLED) for one in (HELD, LATE)}
    assert "cancel: 0" in again.out
    assert [one["reason"] for one in moves] == [f"{CANCELLED}: the course is closed"]


async def test_what_is_late_alone_is_cancelled_and_of_what_is_held_what_is_late_alone_released(desk: Desk) -> None:
    released = await desk.muster("followups", "release", "--overdue", "--yes")
    alarming = await desk.muster("followups", "cancel", "--alarms", "--rule", "water", "--yes")
    done = await desk.muster("followups", "cancel", "--overdue", "--yes", "--json")

    assert ("release: 0" in released.out, "cancel: 0" in alarming.out) == (True, True)
    assert [one["id"] for one in done.json] == [str(LATE)]


async def test_without_saying_which_nothing_is_done(desk: Desk) -> None:
    for verb in ("release", "cancel"):
        done = await desk.muster("followups", verb, "--yes")
        assert (done.code, done.err) == (
            2,
            "muster: say which: give ids, or --state, --rule, --account, --subscription, --overdue, --alarms\n",
        )
    wrong = await desk.muster("followups", "release", "--state", "valid", "--yes")

    assert (wrong.code, "none of these: held" in wrong.err) == (2, True)
