"""A vendor's row as a sighting. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from pydantic import ValidationError

from schemas.fourhse import DeletedSubscription, oddities
from workers.mirror.evidence import Sighting


class Unreadable(Exception):
    """A row of the vendor's that the mirror cannot keep; the message names the fields."""


def sighting(account: str, row: Mapping[str, Any], began: datetime, zone: tzinfo = UTC) -> Sighting:
    """What an index or a view that began then shows of a subscription; raises Unreadable."""
    try:
        subscription = DeletedSubscription.model_validate(row, context=zone)
    except ValidationError as error:
        raise Unreadable(", ".join(sorted({str(one["loc"][0]) for one in error.errors(include_input=False)}))) from None
    fields = vars(subscription)
    if "\0" in "".join(value for value in fields.values() if type(value) is str) or any(
        _holds_nul(value) for value in fields.values() if type(value) in (dict, list)
    ):
        raise Unreadable("a text holds the character U+0000, which no database keeps")
    return Sighting(account, subscription.action_subscription_id, began, fields, oddities(subscription, row))


def _holds_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nul, (*value, *value.values())))
    return any(map(_holds_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value
