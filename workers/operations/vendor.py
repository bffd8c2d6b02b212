"""Every operation of every vendor's API by hand: a table of verbs, so that an integrator can try an account in the first hour."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import jiter
from pydantic import BaseModel, TypeAdapter

from schemas.accounts import Account
from schemas.delivery import now_utc
from workers.vendors.accounts import client
from workers.vendors.anewspring import Anewspring
from workers.vendors.fourhse import Fourhse
from workers.vendors.ispring import Ispring
from workers.vendors.kare import Kare

Arguments = list[str]
#: `name=value` as they were given; a value that reads as JSON is that, else text.
Fields = Mapping[str, Any]


class Misuse(Exception):
    """The arguments do not fit the verb; the message says what does."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One operation. `usage` names its arguments; `changes` tells that the vendor's data change."""

    usage: str
    help: str
    run: Callable[[Any, Arguments, Fields], Awaitable[Any]]
    changes: bool = False

    @property
    def least(self) -> int:
        """How many arguments it needs."""
        return sum(1 for word in self.usage.split() if word.isupper())


async def _pages(pages: AsyncIterator[Any]) -> list[Any]:
    return [row async for page in pages for row in getattr(page, "rows", page)]


async def _view(hse: Fourhse, given: Arguments, _: Fields) -> Any:
    resource, id_ = _entity(hse, given if len(given) > 1 else ["action-subscription", *given])
    return await resource.view(id_)


async def _index(hse: Fourhse, given: Arguments, fields: Fields) -> Any:
    asked = dict(fields)
    sort, history = asked.pop("sort", None), bool(asked.pop("history", False))
    return await _pages(_resource(hse, given[0]).index(filter=asked, sort=sort, history=history))


async def _create(hse: Fourhse, given: Arguments, fields: Fields) -> Any:
    return await _resource(hse, given[0]).create(fields)


async def _upsert(hse: Fourhse, given: Arguments, fields: Fields) -> Any:
    return await _resource(hse, given[0]).upsert(fields)


async def _update(hse: Fourhse, given: Arguments, fields: Fields) -> Any:
    resource, id_ = _entity(hse, given)
    return await resource.update(id_, fields)


async def _preview_delete(hse: Fourhse, given: Arguments, _: Fields) -> Any:
    resource, id_ = _entity(hse, given)
    return (await resource.preview_delete(id_)).affected


async def _delete(hse: Fourhse, given: Arguments, _: Fields) -> Any:
    resource, id_ = _entity(hse, given)
    return {"deleted": (await resource.delete(id_)).id}


async def _historicize(hse: Fourhse, given: Arguments, _: Fields) -> None:
    resource, id_ = _entity(hse, given)
    await resource.historicize(id_)


def _entity(hse: Fourhse, given: Arguments) -> tuple[Any, Any]:
    """A resource, and an id of it; `JS001@PROJECT` is the person with that code there."""
    resource, (code, _, project) = _resource(hse, given[0]), given[1].rpartition("@")
    return resource, dict(zip(resource.shape.key, (code, project), strict=True)) if code and resource.shape.key else given[1]


def _resource(hse: Fourhse, name: str) -> Any:
    if name not in hse.resources:
        raise Misuse(f"no resource {name!r}; take one of {', '.join(hse.resources)}")
    return hse.resources[name]


async def _results(lms: Anewspring, given: Arguments, _: Fields) -> Any:
    if len(given) >= 3:
        return await lms.activity_result(*given[:3])
    return await (lms.result(*given) if len(given) == 2 else lms.results(*given))


def _dates(fields: Fields) -> dict[str, Any]:
    """`start=2026-03-01 expire=`: a date, or nothing to clear it."""
    given = {name: str(fields[name]) for name in ("start", "expire") if name in fields}
    try:
        return {name: date.fromisoformat(text) if text else "" for name, text in given.items()}
    except ValueError:
        raise Misuse("a date is written 2026-03-01") from None


async def _subscribe(lms: Anewspring, given: Arguments, fields: Fields) -> None:
    await lms.subscribe(*given[:2], **_dates(fields))


async def _subscribe_groups(lms: Anewspring, given: Arguments, fields: Fields) -> None:
    await lms.subscribe_groups(given[0], given[1:], **_dates(fields))


async def _update_subscription(lms: Anewspring, given: Arguments, fields: Fields) -> None:
    await lms.update_subscription(*given[:2], expired=fields.get("expired"), **_dates(fields))


async def _score(lms: Anewspring, given: Arguments, fields: Fields) -> None:
    await lms.score_external_activity(*given[:3], score=fields.get("score"), completed=fields.get("completed"))


async def _observations(ispring: Ispring, given: Arguments, _: Fields) -> Any:
    return [one for checklist in given or [None] for one in await ispring.observations(checklist)]  # type: ignore[list-item]


async def _exercise(kare: Kare, given: Arguments, fields: Fields) -> Any:
    return await kare.update(_number(given[0]), fields)  # type: ignore[arg-type]


def _number(text: str) -> int:
    if not text.lstrip("-").isdecimal():
        raise Misuse(f"{text!r} is no number")
    return int(text)


VERBS: Mapping[str, Mapping[str, Verb]] = {
    "4hse": {
        "view": Verb("[resource] ID", "One entity; an action-subscription unless another resource is named.", _view),
        "index": Verb("RESOURCE [field=value …] [sort=-field] [history=true]", "Every entity that matches.", _index),
        "create": Verb("RESOURCE field=value …", "Create an entity under an id of ours.", _create, changes=True),
        "upsert": Verb("RESOURCE code=CODE field=value …", "Create a person, or change the one with this code.", _upsert, changes=True),
        "update": Verb("RESOURCE ID field=value …", "Change fields; a person's ID may be CODE@PROJECT.", _update, changes=True),
        "preview-delete": Verb("RESOURCE ID", "What a delete would take with it.", _preview_delete),
        "delete": Verb("RESOURCE ID", "Delete an entity and all that belongs to it.", _delete, changes=True),
        "historicize": Verb("RESOURCE ID", "Make a person inactive instead of deleting them.", _historicize, changes=True),
    },
    "anewspring": {
        "is-subscribed": Verb("USER COURSE", "Whether a learner has a subscription.", lambda c, a, _: c.is_subscribed(*a[:2])),
        "subscriptions": Verb("USER", "A learner's subscriptions.", lambda c, a, _: c.subscriptions(a[0])),
        "results": Verb("USER [course] [activity]", "A learner's results.", _results),
        "subscribe": Verb("USER COURSE [start=DATE] [expire=DATE]", "Subscribe a learner.", _subscribe, changes=True),
        "subscribe-groups": Verb("COURSE GROUP [group …]", "Subscribe learner groups.", _subscribe_groups, changes=True),
        "update": Verb("USER COURSE [start=] [expire=] [expired=true]", "Change a subscription.", _update_subscription, changes=True),
        "unsubscribe": Verb("USER COURSE", "End a subscription.", lambda c, a, _: c.unsubscribe(*a[:2]), changes=True),
        "score": Verb("USER COURSE ACTIVITY [score=80] [completed=true]", "Score an external activity.", _score, changes=True),
    },
    "ispring": {
        "observations": Verb("[checklist …]", "On-the-job sessions and their results.", _observations),
        "subscriber": Verb("NAME", "A webhook subscriber, and whether it is confirmed.", lambda c, a, _: c.subscriber(a[0])),
        "subscriptions": Verb("NAME", "What a webhook subscriber is subscribed to.", lambda c, a, _: c.subscriptions(a[0])),
        "send-code": Verb("NAME", "Have a new confirmation code sent.", lambda c, a, _: c.send_code(a[0]), changes=True),
        "unsubscribe": Verb("NAME TYPE", "End a webhook subscription.", lambda c, a, _: c.unsubscribe(*a[:2]), changes=True),
        "remove": Verb("NAME", "Remove a webhook subscriber.", lambda c, a, _: c.remove(a[0]), changes=True),
    },
    "kare": {
        "list": Verb("[field=value …]", "Training exercises.", lambda c, _, f: _pages(c.interventions(_texts(f)))),
        "view": Verb("ID", "One training exercise.", lambda c, a, _: c.view(_number(a[0]))),
        "update": Verb("ID field=value …", "Change a training exercise.", _exercise, changes=True),
        "attendance": Verb("[field=value …]", "Who attended which exercise.", lambda c, _, f: _pages(c.attendance(_texts(f)))),
    },
}


async def perform(account: Account, verb: str, given: Arguments) -> Any:
    """Run a verb of the account's vendor and return what it says as JSON has it.

    Raises Misuse for arguments that do not fit, and the errors of `workers.vendors.errors`.
    """
    verbs = VERBS[account.vendor]
    if verb not in verbs:
        raise Misuse(f"{account.vendor} knows no {verb!r}; take one of {', '.join(verbs)}")
    arguments = [one for one in given if "=" not in one]
    if len(arguments) < verbs[verb].least:
        raise Misuse(f"usage: {verb} {verbs[verb].usage}")
    fields = {name: _value(text) for name, _, text in (one.partition("=") for one in given if "=" in one)}
    vendor = client(account, now_utc)
    try:
        return plain(await verbs[verb].run(vendor, arguments, fields))
    finally:
        await vendor.close()


def plain(value: Any) -> Any:
    """A client's answer as JSON has it."""
    return TypeAdapter(Any).dump_python(value, mode="json", by_alias=isinstance(value, BaseModel))


def _value(text: str) -> Any:
    try:
        return jiter.from_json(text.encode())
    except ValueError:
        return text


def _texts(fields: Fields) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}
