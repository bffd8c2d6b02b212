"""Which logged deliveries are meant: a filter over the log, and a walk through it in steps that are short however large the log is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.states import DeliveryState, Reason
from workers.database import Connection, Dialect
from workers.statements import as_time, as_uuid, run

#: Log rows that one step looks at.
STEP = 5000


class Selection(BaseModel):
    """A filter over the delivery log: what is left out asks for nothing, what is a list for any of it. Replays are never meant.

    The names are those of the options, and stand so in a run's record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: That of a replay means its original.
    id: tuple[UUID, ...] = ()
    source: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    vendor: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    state: tuple[DeliveryState, ...] = ()
    reason: tuple[Reason, ...] = ()
    #: What the log calls subject.
    subscription: tuple[str, ...] = ()
    #: Arrived at or after, and before.
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    #: At most so many, the oldest first.
    limit: int | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """As a run's record keeps it; `Selection.model_validate` reads it."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a walk has come: the last row that it looked at."""

    at: datetime
    id: UUID


#: Before any row.
START = Place(datetime.min.replace(tzinfo=UTC), UUID(int=0))


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a walk found, the oldest first, and where it ended."""

    found: Sequence[UUID]
    #: Deliveries that match, and whose bodies the log does not hold any more.
    bodiless: int
    place: Place


_MATCHED: Mapping[str, str] = {
    "source": "source",
    "account": "account",
    "vendor": "vendor",
    "event": "event",
    "reason": "reason",
    "subscription": "subject",
}
_LOOKED_AT = "id, received_at, source, account, vendor, event, state, reason, subject, replay_of, body IS NULL AS bodiless"
_AHEAD = "received_at >= $1 AND (received_at > $1 OR id > $2) AND received_at < $3"
_IN_ORDER = f"ORDER BY received_at, id LIMIT {STEP}"
_NAMED = f"SELECT {_LOOKED_AT} FROM deliveries WHERE id IN (SELECT coalesce(replay_of, id) FROM deliveries WHERE id = any($4)) AND {_AHEAD}"


async def step(connection: Connection, dialect: Dialect, selection: Selection, after: Place, until: datetime) -> Step | None:
    """The next few thousand rows of the log in the order of their arrival, and which of them are meant; None behind the last.

    `until` is where a selection ends that names no end of its own.
    """
    place = max((after.at, after.id), (selection.since or after.at, after.id))
    values: list[Any] = [*place, min(selection.until or until, until)]
    looked = [_in_state(state) for state in DeliveryState if state in (selection.state or DeliveryState)]
    if selection.id:
        values, looked = [*values, [*selection.id]], [_NAMED]
    conditions = ["replay_of IS NULL"]
    for name, column in (*_MATCHED.items(), ("state", "state")):
        if wanted := getattr(selection, name):
            values.append([*wanted])
            conditions.append(f"{column} = any(${len(values)})")
    rows = await run(connection, dialect, _query(looked, " AND ".join(conditions)), *values)
    if not rows:
        return None
    chosen = [row for row in rows if row["chosen"]]
    last = Place(as_time(rows[-1]["received_at"]), as_uuid(rows[-1]["id"]))
    found = [as_uuid(row["id"]) for row in chosen if not row["bodiless"]]
    return Step(found, len(chosen) - len(found), last)


def _in_state(state: DeliveryState) -> str:
    """Rows of one state by the index over state and arrival: a rare state is found at once, whatever else the log holds."""
    return f"SELECT * FROM (SELECT {_LOOKED_AT} FROM deliveries WHERE state = '{state}' AND {_AHEAD} {_IN_ORDER}) AS {state}"


def _query(looked: Sequence[str], chosen: str) -> str:
    """The rows that are chosen, and the last that was looked at, which says where the next step begins."""
    last = "(SELECT id FROM looked ORDER BY received_at DESC, id DESC LIMIT 1)"
    return (
        f"WITH looked AS ({' UNION ALL '.join(looked)} {_IN_ORDER})"
        f" SELECT id, received_at, bodiless, ({chosen}) AS chosen FROM looked WHERE ({chosen}) OR id = {last} ORDER BY received_at, id"
    )
