"""Replays: runs that process logged deliveries again, what each selected, and what became of it.

A run's selection is fixed before anything of it is handed out: an item for each delivery, under the id that its replay has in
this run (`schemas.delivery.replayed_id`). A replay is known by that id wherever it is handed out again, so a run may be cut short and
resumed at any moment. The pipeline notes an item's outcome in the transaction that makes it so.
"""

import json
from collections.abc import Mapping
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from schemas.states import ReplayOutcome
from workers.database import Connection, Dialect
from workers.statements import run


class ReplayRun(Model):
    """One run: who replays what, since when, and with what result."""

    id = fields.UUIDField(primary_key=True)
    who = fields.TextField()
    #: What was asked for: workers.operations.selection.Selection
    asked = fields.JSONField[dict[str, object]](decoder=json.loads)
    #: schemas.states.ReplayState
    state = fields.TextField()
    began_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)
    #: While it selects: the last logged delivery that it looked at, by arrival and id.
    looked_at = fields.DatetimeField(null=True)
    looked_id = fields.UUIDField(null=True)
    #: Its items, and the deliveries that it left out because their bodies were dropped.
    selected = fields.IntField()
    bodiless = fields.IntField()
    #: What became of its items, counted when the last one had an outcome: schemas.states.ReplayOutcome
    applied = fields.IntField()
    unchanged = fields.IntField()
    dead = fields.IntField()
    gone = fields.IntField()
    #: At most so many a second; none: as fast as the workers are.
    rate = fields.FloatField(null=True)
    #: Whether what was imported without effects gets them now; otherwise it is replayed as it was imported.
    effects = fields.BooleanField(null=True)

    class Meta:
        table = "replay_runs"
        indexes = (("began_at",),)


class ReplayItem(Model):
    """One delivery in a run."""

    #: The id of its replay.
    replay = fields.UUIDField(primary_key=True)
    run = fields.UUIDField()
    original = fields.UUIDField()
    #: schemas.states.ReplayOutcome; none: not handed out, or not worked off yet.
    outcome = fields.TextField(null=True)

    class Meta:
        table = "replay_items"
        indexes = (("run", "replay"),)


_NOTE = "UPDATE replay_items SET outcome = $1 WHERE replay = any($2) AND outcome IS NULL"


async def note(connection: Connection, dialect: Dialect, outcomes: Mapping[UUID, ReplayOutcome | str]) -> None:
    """Note what became of replays, by their own ids; the first word counts, and a replay that no run knows is none's.

    Call it in the transaction that makes it so, after the log rows of these replays are written: those are locked in one order.
    """
    for outcome in ReplayOutcome:
        replays = sorted(replay for replay, told in outcomes.items() if told == outcome)
        if replays:
            await run(connection, dialect, _NOTE, outcome.value, replays)
