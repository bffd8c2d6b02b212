"""aNewSpring's webhooks: whose result in which course has changed. The result itself is asked for, as the API knows it best."""

from collections.abc import Iterable
from typing import Any

from schemas.accounts import Account, AnewspringAccount
from schemas.anewspring import address
from schemas.delivery import Delivery
from schemas.states import Reason, RefreshKind
from workers.causes import Cause
from workers.handlers.outcomes import Applied, Dead, Ignored, Outcome
from workers.mirror.evidence import Touch

_LONGEST = 255


def told(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """Any event: aNewSpring publishes no list of them, nor the names of their fields; the account's settings do."""
    event, settings = delivery.event or "", f"accounts.{delivery.account}.webhooks"
    if not isinstance(account, AnewspringAccount):
        return Ignored(
            event, Reason.NOT_HANDLED, f"to ask for the result, the workers need [accounts.{delivery.account}] with aNewSpring's API"
        )
    paths = account.webhooks
    if paths.events and event not in paths.events:
        return Dead(event, Reason.UNKNOWN_EVENT, f"{event}: not among {settings}.events")
    learner, course, activity = (_id_at(body, tried) for tried in (paths.learner, paths.course, paths.activity))
    if learner is None or course is None:
        missing = {"learner": learner, "course": course}
        return Dead(event, Reason.MISSING_FIELD, "; ".join(_tell(settings, name) for name, found in missing.items() if found is None))
    odd = [name for name, found in (("learner", learner), ("course", course)) if len(found) > _LONGEST or found in (".", "..")]
    if odd:
        return Dead(event, Reason.INVALID_FIELD, f"{', '.join(odd)}: cannot be an id")
    touch = Touch(delivery.account, RefreshKind.COURSE_RESULT, learner, delivery.received_at, course, Cause.of(delivery))
    return Applied(event, (touch,), address(learner, course, *filter(None, (activity,))))


def _tell(settings: str, name: str) -> str:
    return f"{name}: not where {settings}.{name} looks for it"


def _id_at(body: Any, paths: Iterable[str]) -> str | None:
    """The first external id that stands at one of the paths."""
    found = (one for path in paths for one in _at(body, path.split(".")))
    return next((text for one in found if (text := _id(one))), None)


def _at(value: Any, steps: list[str]) -> list[Any]:
    """What stands at a path, in each entry of the lists on the way."""
    if isinstance(value, list):
        return [found for one in value for found in _at(one, steps)]
    if not steps:
        return [value]
    return _at(value[steps[0]], steps[1:]) if isinstance(value, dict) and steps[0] in value else []


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else None
