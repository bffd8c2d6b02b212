"""What is to be looked at again though nothing about it has changed: rules, identities or settings have.

An applied rule is walked by workers that have it as it was applied, and by them alone, over every row that it may speak of: so nothing
depends on who sees what first. Where the walk has come to stands beside the rule, so that a walk that was cut short goes on.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import structlog

from schemas.logs import Log
from schemas.rules import Rule
from workers.database import Connection, Database, DatabaseAway
from workers.followups.cases import Key
from workers.followups.plan import QUIET, Followups, hold
from workers.followups.rule_states import LATER, candidates, passed, stands
from workers.followups.tables import RuleState
from workers.statements import as_uuid, run

log = structlog.get_logger()

#: Rows that are planned in one transaction, and seconds until rules are looked at again.
PART, REST = 500, 2.0
#: Of the first rules of all somebody without any may not know for a while: they are walked again.
_BEGIN = """
    UPDATE rule_states SET reached = 0, walk_at = $4,
        walked = CASE WHEN EXISTS (SELECT 1 FROM rule_states AS known WHERE known.applied_at < $3) THEN digest END
    WHERE name = $1 AND digest = $2 AND reached IS NULL"""
_GO_ON = "UPDATE rule_states SET reached = $4 WHERE name = $1 AND digest = $2 AND reached = $3"
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757269
_ALONE = "SELECT pg_try_advisory_xact_lock($1, hashtext($2)) AS alone"

_DUE = "UPDATE action_subscriptions SET changes_at = $1 WHERE account = $2 AND action_subscription_id = any($3)"
_LOOK_AGAIN = "UPDATE needs SET look_at = $1 WHERE id = any($2)"
#: Needs of which a target has nobody: in whatever state they are, for another of their targets may show another.
_UNMATCHED = """
    SELECT id, account, action_subscription_id FROM needs WHERE state NOT IN ('valid', 'undone')
        AND (state = 'unmatched' OR id IN (SELECT need FROM need_targets WHERE state = 'unmatched'))"""

_Act = Callable[[Connection, Sequence[Key]], Awaitable[None]]


class Walks:
    """Walks each of the rules that is due, and what waits for an identity once: templates may be others than they were."""

    def __init__(
        self, database: Database, followups: Followups, now: Callable[[], datetime], *, part: int = PART, rest: float = REST
    ) -> None:
        self._database, self._followups, self._now, self._part, self._rest = database, followups, now, part, rest
        self._began = False

    async def run(self) -> None:
        """Walk whatever is due, until cancelled."""
        while True:
            with suppress(DatabaseAway):  # which the lane logs
                await self.walk()
            await asyncio.sleep(self._rest)

    async def walk(self) -> None:
        """Walk what is due now to its end."""
        if not self._began:
            keys = sorted({key for _, key in await unmatched(self._database)})
            for start in range(0, len(keys), self._part):
                await self._planned(functools.partial(self._some, keys[start : start + self._part]))
        states = {one.name: one for one in await RuleState.all()}
        for rule in self._followups.rules:
            if stands(rule, states) and self._due(states[rule.name]):
                await self._walk(rule, states[rule.name])
        self._began = True

    def _due(self, state: RuleState) -> bool:
        """Whether a walk is under way, or is to begin: a worker that has just begun does not wait."""
        waits = self._began and state.walk_at is not None and state.walk_at > self._now()
        return state.reached is not None or (state.walked != state.digest and not waits)

    async def _walk(self, rule: Rule, state: RuleState) -> None:
        if state.reached is None:
            known, again = self._now() - QUIET, self._now() + LATER
            async with self._database.transaction() as connection:
                await run(connection, self._database.dialect, _BEGIN, rule.name, rule.digest, known, again)
        if not state.reached:
            # What they did not plan by this rule is there to be seen once they have ended.
            await passed(self._database)
        while await self._planned(functools.partial(self._next, rule)):
            pass

    async def _some(self, keys: Sequence[Key], act: _Act) -> bool:
        async with self._database.transaction() as connection:
            await act(connection, keys)
        return True

    async def _next(self, rule: Rule, act: _Act) -> bool:
        """Go on to the next rows that a rule may speak of; whether there may be more for us to do."""
        async with self._database.transaction() as connection:
            under_way = RuleState.filter(name=rule.name, digest=rule.digest, reached__not_isnull=True).using_db(connection)
            if not await self._alone(connection, rule) or (state := await under_way.first()) is None:
                return False
            rest = candidates(rule.when).filter(id__gt=state.reached).order_by("id").limit(self._part).using_db(connection)
            rows = await rest.values("id", "account", "action_subscription_id")
            await act(connection, [(row["account"], row["action_subscription_id"]) for row in rows])
            more = len(rows) == self._part
            # Last, as whoever plans without the rule notes it.
            reached = rows[-1]["id"] if more else None
            await run(connection, self._database.dialect, _GO_ON, rule.name, rule.digest, state.reached, reached)
        return more

    async def _alone(self, connection: Connection, rule: Rule) -> bool:
        """Whether no other worker goes on with this rule until the transaction's end."""
        if self._database.dialect == "sqlite":
            return True
        (row,) = await connection.execute_query_dict(_ALONE, [_ADVISORY_LOCK, rule.name])
        return bool(row["alone"])

    async def _planned(self, work: Callable[[_Act], Awaitable[bool]]) -> bool:
        """Plan for some rows, or have the clock plan for one after another, so that what fails fails alone."""
        try:
            return await work(self._plan)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends no walk
            log.error(Log.CLOCK_FAILED, what="walk", error=type(error).__name__)
            return await work(self._left_to_the_clock)

    async def _plan(self, connection: Connection, keys: Sequence[Key]) -> None:
        await self._followups.plan(connection, self._database.dialect, keys, self._now())

    async def _left_to_the_clock(self, connection: Connection, keys: Sequence[Key]) -> None:
        await hold(connection, self._database.dialect, keys)
        for account in sorted({key[0] for key in keys}):
            ids = sorted(key[1] for key in keys if key[0] == account)
            await run(connection, self._database.dialect, _DUE, self._now(), account, ids)


async def look_again(database: Database, now: datetime) -> None:
    """Have the clock look at what waits for an identity, as some have been written."""
    # A need that is planned by what was known before is there to be seen once its planner has ended.
    await passed(database)
    waiting = await unmatched(database)
    for start in range(0, len(waiting), PART):
        part = waiting[start : start + PART]
        async with database.transaction() as connection:
            await hold(connection, database.dialect, {key for _, key in part})
            await run(connection, database.dialect, _LOOK_AGAIN, now, [str(id_) for id_, _ in part])


async def unmatched(database: Database) -> list[tuple[UUID, Key]]:
    """The needs that wait for want of an identity, in the order in which everybody locks."""
    rows = await run(database.connection, database.dialect, _UNMATCHED)
    found = [(as_uuid(row["id"]), (row["account"], row["action_subscription_id"])) for row in rows]
    return sorted(found, key=lambda one: (one[1], one[0]))
