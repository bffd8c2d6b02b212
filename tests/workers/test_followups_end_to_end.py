"""Follow-ups through the real commands, between simulated vendors, embedded and on RabbitMQ with PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.faults.company import COURSE
from tests.workers.following import CALM, Following, following
from workers.simulators.acme import ACTION, OFFICE
from workers.simulators.faults import Broken, Fault, LandsLate, LostAfter


@pytest_asyncio.fixture(scope="module", params=["embedded", "rabbitmq+postgres"])
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Following]:
    """One muster for all tests; each has people of its own."""
    home: Path = tmp_path_factory.mktemp("following")
    apart = request.param != "embedded"
    broker = request.getfixturevalue("rabbitmq").vhost() if apart else None
    database = request.getfixturevalue("postgres").create("following") if apart else None
    async with following(home, broker, database) as one:
        yield one


async def test_a_duty_leads_to_a_seat_a_pass_to_a_certificate_and_that_makes_it_valid(scene: Following) -> None:
    learner = scene.person()
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    await scene.completes(learner, 90)
    await scene.becomes("valid", scene.need, duty)

    assert await scene.row(duty) == ("live", "VALID")
    assert await scene.moves(duty) == ["planned", "enrolled", "passed", "recorded", "valid"]
    assert (scene.effects(learner), await scene.seats(learner)) == ((1, 0), ["closed"])
    assert [row["name"] for row in scene.certificates(learner)] == [scene.company.tenancy.tables["action"][ACTION]["name"]]


async def test_a_grade_below_the_mark_certifies_nothing(scene: Following) -> None:
    learner = scene.person()
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    await scene.completes(learner, 79)
    await scene.becomes("failed", scene.need, duty)

    assert (scene.certificates(learner), scene.effects(learner), await scene.row(duty)) == ([], (1, 0), ("live", "NEW"))


async def test_what_is_deleted_is_unsubscribed_once(scene: Following) -> None:
    learner = scene.person()
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    scene.release(duty)
    await scene.becomes(["undone"], scene.seats, learner)

    assert (await scene.need(duty), scene.effects(learner)) == ("undone", (1, 1))


async def test_a_seat_that_was_there_before_us_is_used_and_stays(scene: Following) -> None:
    learner = scene.person()
    scene.company.environment.subscribe(learner.code, COURSE)
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    scene.release(duty)
    await scene.becomes(["closed"], scene.seats, learner)

    assert (await scene.need(duty), scene.effects(learner)) == ("undone", (0, 0))


@pytest.mark.parametrize("first", [0, 1], ids=["in their order", "the other way round"])
async def test_two_actions_on_one_course_share_a_seat_that_lasts_as_long_as_either(scene: Following, first: int) -> None:
    learner = scene.person()
    duties = [scene.duty(learner), scene.duty(learner, scene.action("FST-02"))]
    for duty in duties:
        await scene.becomes("enrolled", scene.need, duty)
    scene.release(duties[first])
    await scene.becomes("undone", scene.need, duties[first])
    await asyncio.sleep(CALM)
    shared = scene.effects(learner), await scene.seats(learner), await scene.need(duties[1 - first])
    scene.release(duties[1 - first])
    await scene.becomes(["undone"], scene.seats, learner)

    assert shared == ((1, 0), ["enrolled"], "enrolled")
    assert scene.effects(learner) == (1, 1)


async def test_two_actions_on_one_course_deleted_at_once_are_unsubscribed_once(scene: Following) -> None:
    learner = scene.person()
    duties = [scene.duty(learner), scene.duty(learner, scene.action("FST-03"))]
    for duty in duties:
        await scene.becomes("enrolled", scene.need, duty)
    for duty in duties:
        scene.release(duty)
    await scene.becomes(["undone"], scene.seats, learner)
    await asyncio.sleep(CALM)

    assert ([await scene.need(duty) for duty in duties], scene.effects(learner)) == (["undone", "undone"], (1, 1))


async def test_a_pass_certifies_both_actions_that_share_the_course(scene: Following) -> None:
    learner = scene.person()
    duties = [scene.duty(learner), scene.duty(learner, scene.action("FST-04"))]
    for duty in duties:
        await scene.becomes("enrolled", scene.need, duty)
    await scene.completes(learner, 100)
    for duty in duties:
        await scene.becomes("valid", scene.need, duty)

    assert (len(scene.certificates(learner)), scene.effects(learner)) == (2, (1, 0))


async def test_a_pass_from_before_the_duty_does_not_count(scene: Following) -> None:
    learner, environment = scene.person(), scene.company.environment
    environment.subscribe(learner.code, COURSE)
    environment.complete(learner.code, COURSE, 99)
    await asyncio.sleep(1.1)
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    await asyncio.sleep(CALM)
    before = await scene.need(duty), scene.certificates(learner), scene.effects(learner)
    await scene.completes(learner, 85)
    await scene.becomes("valid", scene.need, duty)

    # The old subscription was ended to begin anew.
    assert before == ("enrolled", [], (1, 1))
    assert (len(scene.certificates(learner)), scene.effects(learner)) == (1, (1, 1))


async def test_an_office_whose_rights_were_withdrawn_has_nobody_unsubscribed(scene: Following) -> None:
    learners = [scene.person() for _ in range(3)]
    duties = [scene.duty(learner) for learner in learners]
    for duty in duties:
        await scene.becomes("enrolled", scene.need, duty)
    scene.company.tenancy.withdraw(OFFICE)
    for duty in duties:
        await scene.becomes(("missing", "NEW"), scene.row, duty)
    await asyncio.sleep(CALM)
    meanwhile = [(await scene.need(duty), scene.effects(learner)) for duty, learner in zip(duties, learners, strict=True)]
    scene.company.tenancy.restore(OFFICE)
    for duty in duties:
        await scene.becomes(("live", "NEW"), scene.row, duty)
    await asyncio.sleep(CALM)

    assert meanwhile == [("enrolled", (1, 0))] * 3
    assert [(await scene.need(duty), scene.effects(learner)) for duty, learner in zip(duties, learners, strict=True)] == meanwhile


async def test_an_lms_that_is_down_delays_and_nothing_else_waits_for_it(scene: Following) -> None:
    learner, faults = scene.person(), scene.company.faults["lms"]
    faults.on(Broken(status=503, times=None))
    duty = scene.duty(learner)
    await scene.becomes(("live", "NEW"), scene.row, duty)
    await asyncio.sleep(CALM)
    meanwhile = await scene.need(duty), scene.effects(learner)
    faults.off()
    await scene.becomes("enrolled", scene.need, duty)

    assert meanwhile == ("planned", (0, 0))
    assert scene.effects(learner) == (1, 0)


@pytest.mark.parametrize("fault", [LostAfter, Broken, LandsLate])
async def test_a_subscribe_whose_answer_is_lost_is_looked_up_and_not_doubled(scene: Following, fault: type[Fault]) -> None:
    learner, faults = scene.person(), scene.company.faults["lms"]
    terms: dict[type[Fault], dict[str, Any]] = {LostAfter: {}, Broken: {"done": True}, LandsLate: {"seconds": 1.0}}
    faults.on(fault(path=f"/api/subscribe/{learner.code}/*", **terms[fault]))
    duty = scene.duty(learner)
    await scene.becomes("enrolled", scene.need, duty)
    await asyncio.sleep(CALM)
    row, effects, found = await scene.need(duty), scene.effects(learner), faults.count(f"/api/subscribe/{learner.code}/*")
    scene.release(duty)
    await scene.becomes(["undone"], scene.seats, learner)

    assert (row, effects) == ("enrolled", (1, 0))
    assert found >= 1
    # Ours all the same: it is given back.
    assert scene.effects(learner) == (1, 1)


async def test_whom_nobody_knows_waits_and_goes_once_the_identity_is_imported(scene: Following) -> None:
    learner = scene.person(coded=False)
    duty = scene.duty(learner)
    await scene.becomes("unmatched", scene.need, duty)
    before = scene.effects(learner)
    table = scene.muster.home / "identities.csv"
    table.write_text(f"account,kind,here,there\nlms,person,{learner.person},{learner.code}\n")
    await asyncio.to_thread(scene.muster.run, "identities", "import", str(table))
    await scene.becomes("enrolled", scene.need, duty)

    assert (before, scene.effects(learner)) == ((0, 0), (1, 0))
