"""What was given up as one list: every kind, by reason and one by one, and nothing that is not."""

from dataclasses import asdict
from uuid import UUID, uuid4

import pytest

from schemas.states import DeadKind, DeliveryState, Reason
from tests.workers.followups.mirrored import NOON
from tests.workers.made import created
from tests.workers.operations.letters import delivery, enrollment, event, later, need_of, recording
from workers.database import Database
from workers.log import LoggedDelivery
from workers.operations.letters import UNTOLD, Wanted, alike, find, grouped, groups, show
from workers.outbox import OFTEN, OutboxEvent
from workers.pipeline import Pipeline


async def ids(database: Database, wanted: Wanted, limit: int | None = None) -> list[UUID]:
    return [one.id for one in await find(database, wanted, limit)]


async def test_every_kind_is_in_one_list_and_nothing_that_is_not_dead(database: Database) -> None:
    expected = {await delivery(database), await enrollment(), await recording(), await event(database)}
    await Pipeline(database).together([created("living")])
    await enrollment(state="enrolled", learner="JS002")
    await recording(state="undone")
    await event(database, "s2", OFTEN - 1)
    found = await find(database, Wanted())

    assert {one.id for one in found} == expected
    assert [(one.kind, one.account, one.source, one.about, one.reason) for one in found] == [
        (DeadKind.DELIVERY, "hse", "hse", "ACTION_SUBSCRIPTION::CREATE", "handler_failed"),
        (DeadKind.ENROLLMENT, "lms", None, "course FIRE", "404: no user JS001"),
        (DeadKind.RECORDING, "hse", None, "certificate", "422: name: is too long"),
        (DeadKind.EVENT, "hse", None, "muster.drift.found.v1 hse/s1", UNTOLD),
    ]


async def test_a_replay_that_died_is_its_runs_and_not_listed(database: Database) -> None:
    original = await delivery(database)
    await Pipeline(database).bury([created(replay_of=original)], Reason.HANDLER_FAILED)

    assert await LoggedDelivery.filter(state=DeliveryState.DEAD.value).count() == 2
    assert await ids(database, Wanted()) == [original]


async def test_they_are_grouped_by_reason_with_counts_and_times(database: Database) -> None:
    for number in range(3):
        await enrollment(f"404: no user JS00{number}", learner=f"JS00{number}", state_at=later(number))
    await enrollment("404: no user ada@example.com", account="lms2", state_at=later(9))
    await enrollment("403: no such right", learner="JS009")
    found = await groups(database, Wanted())

    assert [(one.reason, one.count, one.first_at, one.last_at, one.accounts) for one in found] == [
        ("404: no user …", 4, NOON, later(9), ("lms", "lms2")),
        ("403: no such right", 1, NOON, NOON, ("lms",)),
    ]
    assert sorted(found[0].reasons) == ["404: no user JS000", "404: no user JS001", "404: no user JS002", "404: no user ada@example.com"]
    assert [asdict(one) | {"reasons": {*one.reasons}} for one in grouped(await find(database, Wanted()))] == [
        asdict(one) | {"reasons": {*one.reasons}} for one in found
    ]


async def test_groups_are_in_the_order_of_the_kinds_the_most_frequent_first(database: Database) -> None:
    await event(database)
    await recording()
    await enrollment()
    await delivery(database, Reason.UNPARSABLE)
    for _ in range(2):
        await delivery(database)
    found = await groups(database, Wanted())

    assert [(one.kind, one.reason, one.count) for one in found] == [
        (DeadKind.DELIVERY, "handler_failed", 2),
        (DeadKind.DELIVERY, "unparsable", 1),
        (DeadKind.ENROLLMENT, "404: no user …", 1),
        (DeadKind.RECORDING, "422: name: is too long", 1),
        (DeadKind.EVENT, UNTOLD, 1),
    ]


async def test_filters_select_together(database: Database) -> None:
    one, other = await delivery(database), await delivery(database, Reason.UNPARSABLE, source="second", account="hse2")
    seat, unknown = await enrollment(), await enrollment("403: no such right", learner="JS002")
    told = await event(database)

    assert await ids(database, Wanted(kind=(DeadKind.EVENT, DeadKind.DELIVERY), account=("hse",))) == [one, told]
    assert await ids(database, Wanted(source=("second", "third"))) == [other]
    assert await ids(database, Wanted(reason=("unparsable", "404*"))) == [other, seat]
    assert await ids(database, Wanted(reason=("404: no user …",))) == await ids(database, Wanted(reason=("404: no user JS001",))) == [seat]
    assert await ids(database, Wanted(reason=("no user",))) == []
    assert await ids(database, Wanted(ids=(unknown, told, uuid4()))) == [unknown, told]
    assert await ids(database, Wanted(ids=(unknown,), kind=(DeadKind.DELIVERY,))) == []
    assert await ids(database, Wanted(account=("lms",), reason=("403*",)), 5) == [unknown]
    assert [found.reason for found in await groups(database, Wanted(reason=("40?:*",)))] == ["403: no such right", "404: no user …"]


async def test_an_event_that_waits_for_a_reason_of_its_own_says_so(database: Database) -> None:
    await OutboxEvent.filter(event=await event(database)).update(reason="this version knows no such type")

    assert [one.reason for one in await groups(database, Wanted())] == ["this version knows no such type"]


async def test_no_more_are_given_than_asked_for_the_last_given_up_first(database: Database) -> None:
    seats = [await enrollment(learner=f"JS{number:03}", state_at=later(number)) for number in range(4)]

    assert await ids(database, Wanted(), 3) == seats[:0:-1]


async def test_a_needs_id_stands_for_what_keeps_it_dead(database: Database) -> None:
    seat, written = await enrollment(), await recording()
    await enrollment(learner="JS002")

    assert await ids(database, Wanted(ids=((await need_of(seat)).id, (await need_of(written)).id))) == [seat, written]
    assert await ids(database, Wanted(ids=(uuid4(),))) == []


async def test_one_is_shown_with_its_row_and_the_needs_that_wait(database: Database) -> None:
    body, seat, written, told = await delivery(database), await enrollment(), await recording(), await event(database)
    shown = [await show(database, one) for one in (body, seat, written, told)]

    assert [one.letter.id for one in shown if one] == [body, seat, written, told]
    rows = [one.row for one in shown if one]
    assert (rows[0]["detail"], rows[0]["attempts"], b"action_id" in rows[0]["body"]) == ("KeyError", 1, True)
    assert (rows[1]["learner"], rows[2]["remote"], rows[3]["data"]["kind"]) == ("JS001", "c1", "different")
    needs = [[(need["id"], need["rule"], need["state"]) for need in one.needs] for one in shown if one]
    assert needs == [[], [((await need_of(seat)).id, "fire", "dead")], [((await need_of(written)).id, "fire", "dead")], []]
    assert await show(database, uuid4()) is None


@pytest.mark.parametrize(
    ("reason", "grouped"),
    [
        ("unparsable", "unparsable"),
        ("404: no users exist with id JS-001", "404: no users exist with id …"),
        ("422: mail: ada@example.com is taken; name: is too long", "422: mail: … is taken; name: is too long"),
        ("throttled, wants 60 s", "throttled, wants … s"),
        ("", ""),
    ],
)
def test_reasons_are_alike_that_differ_in_codes_and_numbers(reason: str, grouped: str) -> None:
    assert alike(reason) == grouped
