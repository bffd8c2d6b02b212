"""Steps of writing an outcome to 4HSE that are due, taken by lease: `due_at` is the lease's end while somebody writes one."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.states import RefreshKind
from schemas.traces import Span, SpanName, Tracer, current
from workers.database import Connection, Database, Dialect
from workers.followups.outcomes import Planner
from workers.followups.recording import DEAD, DONE, DROPPED, Step
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.statements import as_time, run

#: How long a claim holds: longer than the recorder works on one.
LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Claim:
    """A step that is ours until the lease ends, with what the steps beside it say."""

    id: UUID
    account: str
    subscription: str
    need: UUID
    step: str
    body: Mapping[str, Any]
    remote: str
    attempts: int
    lease: datetime
    #: Whose life the certificate ends, and since when results count.
    cycle: str
    opened_at: datetime
    #: The certificate's id as far as is known, the day it begins, its action, and the session enrollment that names it.
    certificate: str | None
    begin: date | None
    action: str | None
    seat: str | None
    trace: str | None = None

    def traced(self, tracer: Tracer) -> AbstractContextManager[Span]:
        """A try at it, in the trace of what it follows from."""
        about = {"muster.account": self.account, "muster.recording": str(self.id), "muster.step": self.step, "muster.need": str(self.need)}
        return tracer.follow(SpanName.RECORD, [self.trace] if self.trace else (), about)


#: What still is to be written, or holds up what comes after it: not a failed attempt that could not be told.
LEFT = "state NOT IN ('done', 'dropped') AND NOT (state = 'dead' AND step LIKE 'failed%')"
#: The outcome is told already: a failed attempt before it would take it back.
TOLD = "EXISTS (SELECT 1 FROM recordings AS o WHERE o.need = recordings.need AND o.step = 'session' AND o.state = 'done')"


def _place(row: str) -> str:
    """Where a step stands among those of its need."""
    ranks = " ".join(f"WHEN '{step}' THEN {rank}" for rank, step in enumerate(Step) if step is not Step.FAILED)
    return f"(CASE {row}.step {ranks} ELSE {[*Step].index(Step.FAILED)} END, length({row}.step), {row}.step)"


#: Another need of the subscription is about to certify it, or between its certificate and the link: what it makes is to be found. What
#: waits for another try may have been done.
_OUTRUN = """
    SELECT 1 FROM needs AS o JOIN recordings AS x ON x.need = o.id AND x.state = 'planned'
    WHERE o.account = n.account AND o.action_subscription_id = n.action_subscription_id AND o.id <> n.id
        AND x.step IN ('certificate', 'certificate_action')
        AND (x.due_at > $2 OR o.state NOT IN ('undone', 'held') AND CASE x.step WHEN 'certificate' THEN (x.due_at, x.id) < (r.due_at, r.id)
            ELSE NOT EXISTS (SELECT 1 FROM recordings WHERE need = o.id AND step = 'certificate' AND state IN ('planned', 'dead')) END)"""
#: What is written for a need that is undone is not wanted any more, and no certificate is for one about which a person has to say yes.
_DUE = f"""
    SELECT r.* FROM recordings AS r JOIN needs AS n ON n.id = r.need
    WHERE r.account = $1 AND r.state = 'planned' AND r.due_at <= $2
        AND n.state <> 'undone' AND (n.state <> 'held' OR r.step LIKE 'failed%')
        AND r.id NOT IN (SELECT id FROM recordings WHERE need = r.need AND step LIKE 'failed%' AND {TOLD})
        AND NOT EXISTS (SELECT 1 FROM recordings AS b WHERE b.need = r.need AND {_place("b")} < {_place("r")} AND {LEFT})
        AND NOT (r.step = 'certificate' AND EXISTS ({_OUTRUN}))
    ORDER BY r.due_at, r.id LIMIT $3 FOR UPDATE OF r SKIP LOCKED"""
_ALONE = "SELECT pg_advisory_xact_lock(hashtext($1))"
_LEASE = "UPDATE recordings SET due_at = $2 WHERE id = any($1)"
_NEEDS = "SELECT id, action_subscription_id, cycle, opened_at FROM needs WHERE id = any($1)"
_BESIDE = "SELECT need, step, body, remote FROM recordings WHERE need = any($1)"


async def claim(database: Database, account: str, now: datetime, limit: int, lease: timedelta = LEASE) -> list[Claim]:
    """Take what is due in an account, the longest due first."""
    async with database.transaction() as connection:
        if database.dialect == "postgres":  # SQLite has one writer at a time
            await run(connection, database.dialect, _ALONE, f"recordings {account}")
        rows = await run(connection, database.dialect, _DUE, account, now, limit)
        await run(connection, database.dialect, _LEASE, [str(row["id"]) for row in rows], now + lease)
        about = sorted({str(row["need"]) for row in rows})
        needs = {str(need["id"]): need for need in await run(connection, database.dialect, _NEEDS, about)}
        beside: dict[str, dict[str, Mapping[str, Any]]] = {need: {} for need in about}
        for row in await run(connection, database.dialect, _BESIDE, about):
            beside[str(row["need"])][row["step"]] = row
    return [_claim(row, needs[str(row["need"])], beside[str(row["need"])], now + lease) for row in rows]


_SUBSCRIPTION = "SELECT id FROM action_subscriptions WHERE account = $1 AND action_subscription_id = $2 FOR UPDATE"
_ENDED = """
    UPDATE recordings SET state = $3, state_at = $4, remote = $5, error = $6, due_at = NULL
    WHERE id = $1 AND due_at = $2 AND state = 'planned' RETURNING id"""
_LEFT = f"SELECT count(*) AS count FROM recordings WHERE need = $1 AND {LEFT}"


async def written(database: Database, claim: Claim, remote: str, planner: Planner, now: datetime, clock_skew: timedelta) -> None:
    """It stands at 4HSE under that id. After the last step the subscription is fetched, to see what it made of it."""
    await _over(database, claim, (DONE, remote, None), planner, now, clock_skew)


async def dropped(database: Database, claim: Claim, why: str, planner: Planner, now: datetime, clock_skew: timedelta) -> None:
    """There is nothing any more that it could be written to."""
    await _over(database, claim, (DROPPED, claim.remote, why), planner, now, clock_skew)


async def _over(
    database: Database, claim: Claim, end: tuple[str, str, str | None], planner: Planner, now: datetime, clock_skew: timedelta
) -> None:
    async with database.transaction() as connection:
        if await _ended(connection, database.dialect, claim, *end, now):
            await planner.plan(connection, database.dialect, [(claim.account, claim.subscription)], now)
            (left,) = await run(connection, database.dialect, _LEFT, str(claim.need))
            # By the link it is VALID, whatever becomes of the rest.
            if claim.step == Step.CERTIFICATE_ACTION or not left["count"]:
                touch = Touch(claim.account, RefreshKind.ACTION_SUBSCRIPTION, claim.subscription, now, trace=current().trace)
                await mark(connection, database.dialect, [touch], clock_skew)


async def given_up(database: Database, claim: Claim, error: str, planner: Planner, now: datetime) -> None:
    """It cannot be written, in the vendor's words."""
    async with database.transaction() as connection:
        if await _ended(connection, database.dialect, claim, DEAD, claim.remote, error, now):
            await planner.plan(connection, database.dialect, [(claim.account, claim.subscription)], now)


_AGAIN = "UPDATE recordings SET due_at = $3, error = $4, attempts = attempts + $5 WHERE id = $1 AND due_at = $2"


async def again(database: Database, claim: Claim, due_at: datetime, error: str, *, blamed: bool) -> None:
    """Come back to it."""
    async with database.transaction() as connection:
        await run(connection, database.dialect, _AGAIN, str(claim.id), claim.lease, due_at, error, int(blamed))


async def _ended(connection: Connection, dialect: Dialect, claim: Claim, state: str, remote: str, error: str | None, now: datetime) -> bool:
    """Whether it was still ours: who has it now finds by looking what we did."""
    # Subscriptions are locked before what belongs to them, by everybody.
    await run(connection, dialect, _SUBSCRIPTION, claim.account, claim.subscription)
    return bool(await run(connection, dialect, _ENDED, str(claim.id), claim.lease, state, now, remote, error))


def _claim(row: Mapping[str, Any], need: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]], lease: datetime) -> Claim:
    certificate, link, seat = (beside.get(step.value) for step in (Step.CERTIFICATE, Step.CERTIFICATE_ACTION, Step.SESSION))
    return Claim(
        id=UUID(str(row["id"])),
        account=row["account"],
        subscription=need["action_subscription_id"],
        need=UUID(str(row["need"])),
        step=row["step"],
        body=_json(row["body"]),
        remote=row["remote"],
        attempts=row["attempts"],
        lease=lease,
        cycle=need["cycle"],
        opened_at=as_time(need["opened_at"]),
        certificate=certificate["remote"] if certificate else None,
        begin=date.fromisoformat(_json(certificate["body"])["date_release"]) if certificate else None,
        action=_json(link["body"])["action_id"] if link else None,
        seat=seat["remote"] if seat else None,
        trace=row["trace"],
    )


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
