"""Results wake every need that they could be about, on both databases: whatever its state, and whether it has a seat or none."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.rules import Rule
from schemas.states import EnrollmentState
from tests.workers.followups.mirrored import ACCOUNTS, NOON, rule
from tests.workers.followups.test_plan import World, applied, needs, passed
from workers.database import Database
from workers.followups.plan import Followups
from workers.followups.tables import Enrollment, Need, NeedTarget, Recording
from workers.mirror.facts import COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact

MARK: dict[str, Any] = {"pass": {"grade": 80}}
APPROVED = rule(enroll={"account": "lms", "course": "FIRE", "approve": True}, record={}, **MARK)
WATCHED = rule(enroll=None, observe={"account": "ispring", "checklist": "c", "result": 80}, undo="keep", record={})
MAPPED = "INSERT INTO identities (account, kind, here, there) VALUES ('{}', 'person', 'p1', '{}')"


async def mapped(database: Database, account: str, there: str) -> None:
    await database.connection.execute_query(MAPPED.format(account, there))


def seen(at: datetime, result: float = 90.0, there: str = "e1", checklist: str = "c") -> Fact:
    """An observation of the learner."""
    said = {"employee_id": there, "checklist_id": checklist, "observer_id": "o", "status": "PASSED", "result": result}
    return Fact(OBSERVATION, "ispring", ("x",), at, said | {"completed_at": at - timedelta(seconds=1)})


async def written(world: World) -> None:
    """The certificate was written."""
    await Recording.all().update(state="done")
    await world.enrolled()


async def alarm() -> str | None:
    """What a person should look at."""
    return (await Need.get()).alarm


async def test_a_result_wakes_a_need_that_waits_for_a_person(database: Database) -> None:
    world = await applied(database, APPROVED)
    await world.sighted("s1")
    assert await needs() == [("s1", "initial", "held")]

    await world.observed(passed(world.at + timedelta(seconds=30)))
    assert (await needs(), await Enrollment.all().count()) == ([("s1", "initial", "passed")], 0)


async def test_a_result_wakes_the_target_that_stands_behind_another(database: Database) -> None:
    chain = rule(enroll=[{"account": "lms", "course": "A"}, {"account": "lms", "course": "B", "after": "A"}])
    world = await applied(database, chain)
    await world.sighted("s1")
    await world.observed(passed(world.at + timedelta(seconds=30), course="B"))

    assert [one.state for one in await NeedTarget.all().order_by("step")] == ["planned", "passed"]


@pytest.mark.parametrize("unknown", ["no field", "no entry"])
async def test_a_result_wakes_a_need_whose_learner_is_known_by_now(database: Database, unknown: str) -> None:
    world = await applied(database, APPROVED)
    known = world.mirror
    nobody = {**ACCOUNTS, "lms": ACCOUNTS["lms"].model_copy(update={"learner": None})}
    world.mirror = replace(known, followups=Followups((APPROVED,), nobody))
    await world.sighted("s1")
    assert await needs() == [("s1", "initial", "unmatched")]
    if unknown == "no entry":
        await mapped(database, "lms", "JS001")
    else:
        world.mirror = known

    await world.observed(passed(world.at + timedelta(seconds=30)))
    assert await needs() == [("s1", "initial", "passed")]


@pytest.mark.parametrize(
    ("template", "there", "row"),
    [
        ("{subscriber_code}", "JS001", {}),
        ("{tenant_id}/{subscriber_code}", "t1/JS001", {}),
        ("{office_name}-{subscriber_code}", "A-B-7", {"office_name": "A", "subscriber_code": "B-7"}),
        ("{{{subscriber_code}}}", "{JS001}", {}),
    ],
)
async def test_a_learner_by_any_template_is_recognized(database: Database, template: str, there: str, row: dict[str, str]) -> None:
    world = await applied(database, WATCHED)
    accounts = {**ACCOUNTS, "ispring": ACCOUNTS["ispring"].model_copy(update={"learner": template})}
    world.mirror = replace(world.mirror, followups=Followups((WATCHED,), accounts))
    await world.sighted("s1", **row)
    await world.observed(seen(world.at + timedelta(seconds=2), there=there))

    assert await needs() == [("s1", "initial", "passed")]


async def test_what_another_learner_reached_or_in_another_course_wakes_nobody(database: Database) -> None:
    world = await applied(database, APPROVED)
    await world.sighted("s1")
    other = [Fact(COURSE_RESULT, "lms", key, world.at, {"completed": True}) for key in (("JS002", "FIRE", "", 0), ("JS001", "B", "", 0))]
    async with database.transaction() as connection:
        assert await world.mirror.followups.keys_of(connection, database.dialect, other) == set()  # type: ignore[union-attr]


async def test_an_observation_that_is_corrected_once_it_is_recorded_is_an_alarm_at_once(database: Database) -> None:
    world = await certified(database)
    await world.observed(replace(seen(world.at, 10.0), at=world.at))
    assert await alarm() == "observation c certified, and does not pass any more: delete the certificate"


async def certified(database: Database) -> World:
    """A world in which an observation of e1 certified."""
    world = await applied(database, WATCHED)
    await mapped(database, "ispring", "e1")
    await world.sighted("s1")
    await world.observed(seen(world.at + timedelta(seconds=2)))
    await written(world)
    assert (await needs(), await alarm()) == ([("s1", "initial", "recorded")], None)
    return world


WITHDRAWN = "observation c certified, and was withdrawn since: see whether the certificate stands"


async def test_an_observation_that_is_withdrawn_once_it_is_recorded_is_an_alarm_at_once(database: Database) -> None:
    world = await certified(database)
    world.at += timedelta(minutes=1)
    async with database.transaction() as connection:
        await world.mirror.observe(connection, database.dialect, OBSERVATION, "ispring", [], world.at, {"checklist_id": "c"})

    assert await alarm() == WITHDRAWN


@pytest.mark.parametrize("known", [True, False])
async def test_an_observation_that_becomes_anothers_once_it_is_recorded_is_an_alarm_at_once(database: Database, known: bool) -> None:
    world = await certified(database)
    if known:
        await database.connection.execute_query(MAPPED.format("ispring", "e2").replace("p1", "p2"))
        await world.sighted("s2", subscriber_id="p2", subscriber_code="JS002")
    await world.observed(seen(world.at, there="e2"))

    assert [one.alarm for one in await Need.filter(action_subscription_id="s1")] == [WITHDRAWN]
    assert await needs() == [("s1", "initial", "recorded")] + [("s2", "initial", "awaiting")] * known


async def test_a_session_enrollment_that_is_withdrawn_once_it_is_recorded_is_an_alarm_at_once(database: Database) -> None:
    ruled = rule(enroll={"account": "hse", "session": "next", "within": "90d"}, record={})
    world = await applied(database, ruled)
    await world.sighted("s1")
    await world.enrolled()
    said = {"action_subscription_id": "s1", "action_session_id": "x", "done": 1, "session_date_begin": NOON.date()}
    await world.observed(Fact(SESSION_ENROLLMENT, "hse", ("seat",), world.at, said))
    await written(world)
    world.at += timedelta(minutes=1)
    async with database.transaction() as connection:
        within = {"action_session_subscription_id": "seat"}
        await world.mirror.observe(connection, database.dialect, SESSION_ENROLLMENT, "hse", [], world.at, within)

    assert await alarm() == "session next certified, and was withdrawn since: see whether the certificate stands"


@pytest.mark.parametrize("seat", [True, False])
@pytest.mark.parametrize("valid", [True, False])
async def test_a_course_that_is_corrected_once_it_is_recorded_is_an_alarm_at_once(database: Database, seat: bool, valid: bool) -> None:
    ruled: Rule = rule(record={}, **MARK) if seat else APPROVED
    world = await applied(database, ruled)
    await world.sighted("s1")
    if seat:
        await world.enrolled()
    one = passed(world.at + timedelta(seconds=30), 90.0)
    await world.observed(one)
    await written(world)
    if valid:
        await world.sighted("s1", status="VALID", last_certificate_id="c1")
    assert (await needs(), await alarm()) == ([("s1", "initial", "valid" if valid else "recorded")], None)

    await world.observed(replace(one, at=world.at + timedelta(seconds=1), content={**one.content, "grade": 10.0}))
    assert await alarm() == "course FIRE certified, and does not pass any more: delete the certificate"


async def test_a_seat_that_the_lms_has_ended_lapses_as_soon_as_it_says_so(database: Database) -> None:
    world = await applied(database, rule())
    await world.sighted("s1")
    await world.enrolled(found=True)
    over = {"completed": False, "expired": True, "finished": True}
    await world.observed(Fact(COURSE_RESULT, "lms", ("JS001", "FIRE", "", 0), world.at + timedelta(seconds=1), over))

    assert (await needs(), [one.state for one in await Enrollment.all()]) == ([("s1", "initial", "lapsed")], [EnrollmentState.CLOSED])
