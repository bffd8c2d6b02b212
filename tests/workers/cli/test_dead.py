"""`muster dead` as a real command, on each database; replays on every transport."""

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.states import Reason
from tests.services.muster import Muster
from tests.workers.cli.logged import buried, within
from tests.workers.made import created
from tests.workers.operations.letters import delivery, enrollment, event, need_of, recording
from workers.database import Database
from workers.followups.tables import Enrollment, Need, Recording
from workers.operations.letters import UNTOLD

BECAUSE = ("--because", "a test of theirs")


@pytest.fixture
def idle(tmp_path: Path, database_url: str) -> Iterator[Muster]:
    """muster set up, with nothing running."""
    muster = Muster(tmp_path, database=database_url)
    muster.run("init")
    yield muster
    muster.close()


async def one_of_each(database: Database) -> list[str]:
    """Their ids, in the order in which they are listed."""
    return [str(one) for one in (await delivery(database), await enrollment(), await recording(), await event(database))]


def said(muster: Muster, *arguments: str) -> Any:
    """What a command prints with --json."""
    return json.loads(muster.run(*arguments, "--json").stdout)


async def test_what_was_given_up_is_one_list_by_reason(idle: Muster) -> None:
    nothing = idle.run("dead", "list")
    ids = await within(idle, one_of_each)
    await within(idle, lambda _: enrollment("404: no user JS002", learner="JS002"))
    listed, found = idle.run("dead", "list").stdout, said(idle, "dead", "list")
    each = said(idle, "dead", "list", "--each")

    assert (nothing.stdout, nothing.stderr) == ("", "nothing is dead\n")
    assert [line.split("  ")[0].strip() for line in listed.splitlines()] == ["kind", "delivery", "enrollment", "recording", "event"]
    assert "404: no user …" in listed
    assert [(one["kind"], one["reason"], one["count"], one["accounts"]) for one in found] == [
        ("delivery", "handler_failed", 1, ["hse"]),
        ("enrollment", "404: no user …", 2, ["lms"]),
        ("recording", "422: name: is too long", 1, ["hse"]),
        ("event", UNTOLD, 1, ["hse"]),
    ]
    assert "please report it" in found[0]["explanation"]
    assert all(one["first_at"] <= one["last_at"] for one in found)
    assert {one["id"] for one in each} > {*ids}
    assert "the first 2" in idle.run("dead", "list", "--each", "--limit", "2").stderr


async def test_filters_select_together(idle: Muster) -> None:
    one, seat, written, told = await within(idle, one_of_each)

    def ids(*arguments: str) -> list[str]:
        return [found["id"] for found in said(idle, "dead", "list", "--each", *arguments)]

    assert ids("--kind", "event", "--kind", "delivery") == [one, told]
    assert ids("--source", "hse") == [one]
    assert ids("--account", "lms", "--reason", "404: no user …") == [seat]
    assert ids("--account", "hse", "--reason", "422*") == [written]
    assert idle.run("dead", "list", "--account", "nobody").stderr == "nothing is dead that matches\n"


async def test_one_is_shown_with_what_can_be_done(idle: Muster) -> None:
    one, seat, written, told = await within(idle, one_of_each)
    need = str((await within(idle, lambda _: need_of(UUID(seat)))).id)
    body, unknown = idle.run("dead", "show", one).stdout, idle.run("dead", "show", str(uuid4()), check=False)

    assert "muster failed on it every time" in body
    assert "ACTION_SUBSCRIPTION::CREATE" in body
    assert f"muster dead drop {one} --because" in body
    assert said(idle, "dead", "show", need)["id"] == said(idle, "dead", "show", seat)["id"] == seat
    assert said(idle, "dead", "show", seat)["needs"][0]["id"] == need
    assert need in idle.run("dead", "show", seat).stdout
    assert (said(idle, "dead", "show", written)["row"]["remote"], said(idle, "dead", "show", told)["row"]["attempts"]) == ("c1", 5)
    assert (unknown.returncode, "is dead" in unknown.stderr) == (1, True)


async def test_follow_ups_and_events_are_tried_again(idle: Muster) -> None:
    _, seat, written, told = await within(idle, one_of_each)
    refused = idle.run("dead", "replay", "--account", "lms", check=False)
    done = idle.run("dead", "replay", "--kind", "enrollment", "--kind", "recording", "--kind", "event", "--yes", "--by", "ada")
    states = await within(idle, lambda _: states_of_both())

    assert (refused.returncode, "Replay 1?" in refused.stderr) == (1, True)
    assert "each enrollment is due at the vendor at once" in refused.stdout
    assert "tried again: enrollment 1  recording 1  event 1" in done.stdout
    assert states == ("planned", "planned")
    assert [one["kind"] for one in said(idle, "dead", "list")] == ["delivery"]
    entries = said(idle, "audit", "--who", "ada")
    assert {(one["verb"], one["subject"]) for one in entries} == {
        ("dead replay", f"enrollment {seat}"),
        ("dead replay", f"recording {written}"),
        ("dead replay", f"event {told}"),
    }


async def states_of_both() -> tuple[str, str]:
    """Of the enrollment and the recording."""
    return (await Enrollment.get()).state, (await Recording.get()).state


async def test_nothing_is_dropped_without_a_name_and_a_reason(idle: Muster) -> None:
    ids = await within(idle, one_of_each)
    all_kinds = [word for kind in ("delivery", "enrollment", "recording", "event") for word in ("--kind", kind)]
    unmeant, unsaid, blank = (
        idle.run("dead", "drop", *given, "--yes", check=False) for given in (BECAUSE, ids[:1], [*ids[:1], "--because", " "])
    )
    refused = idle.run("dead", "drop", *all_kinds, *BECAUSE, check=False)
    done = idle.run("dead", "drop", *all_kinds, *BECAUSE, "--yes")
    entries, needs = said(idle, "audit"), await within(idle, lambda _: Need.all())

    assert [one.returncode for one in (unmeant, unsaid, blank, refused)] == [2, 2, 2, 1]
    assert "say which: give ids, or --kind, --reason, --source, --account" in unmeant.stderr
    assert "--because" in unsaid.stderr
    assert "Drop 4?" in refused.stderr
    assert "each event is deleted, which leaves a gap" in refused.stdout
    assert "dropped: delivery 1  enrollment 1  recording 1  event 1" in done.stdout
    assert idle.run("dead", "list").stderr == "nothing is dead\n"
    assert {(one["who"], one["verb"], one["reason"]) for one in entries} == {(getpass.getuser(), "dead drop", BECAUSE[1])}
    things = [f"{kind} {id_}" for kind, id_ in zip(("delivery", "enrollment", "recording", "event"), ids, strict=True)]
    assert {one["subject"] for one in entries} == {*things, *(f"need {need.id}" for need in needs)}
    assert said(idle, "deliveries", "show", ids[0])["state"] == "settled"
    assert "dropped: a test of theirs" in idle.run("deliveries", "show", ids[0]).stdout


async def test_what_is_named_and_not_dead_fails_and_what_matches_nothing_does_not(idle: Muster) -> None:
    done = idle.run("dead", "drop", "--reason", "404*", *BECAUSE, "--yes")
    named = [idle.run("dead", verb, str(uuid4()), *more, "--yes", check=False) for verb, more in (("replay", ()), ("drop", BECAUSE))]

    assert (done.returncode, done.stderr) == (0, "nothing is dead that matches\n")
    assert [(one.returncode, one.stderr) for one in named] == [(1, "muster: nothing that is called so is dead\n")] * 2
    assert said(idle, "dead", "drop", "--kind", "event", *BECAUSE) == {"dropped": [], "late": 0}
    assert said(idle, "dead", "replay", "--kind", "event") == {"again": [], "late": 0, "run": None}


async def test_dead_deliveries_are_replayed_by_a_run_and_the_rest_is_due(muster: Muster) -> None:
    await buried(muster, [created(f"s{number}") for number in range(20)])
    await within(muster, lambda database: delivery(database, Reason.UNPARSABLE))
    done = muster.run("dead", "replay", "--kind", "delivery", "--reason", "handler*", "--yes", "--by", "ada")

    assert "20 replayed: applied 20  unchanged 0  dead 0" in done.stdout
    assert [(one["reason"], one["count"]) for one in said(muster, "dead", "list")] == [("unparsable", 1)]
    (run,), (entry,) = said(muster, "replay", "--list"), said(muster, "audit")
    assert (run["who"], run["asked"]) == ("ada", {"state": ["dead"], "reason": ["handler_failed"]})
    assert (entry["who"], entry["verb"], entry["subject"]) == ("ada", "dead replay", f"replay run {run['id']}")


async def test_everything_is_tried_again_in_one_go_and_told_as_json(muster: Muster) -> None:
    await buried(muster, [created("a"), created("b")])
    written = str(await within(muster, lambda _: recording()))
    found = said(muster, "dead", "replay", "--account", "hse", "--yes")

    assert ([one["id"] for one in found["again"]], found["late"]) == ([written], 0)
    assert (found["run"]["selected"], found["run"]["applied"], found["run"]["state"]) == (2, 2, "done")
