"""PERSON::CREATE, ::UPDATE and ::DELETE touch every subscription of the person."""

from typing import Any

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.fourhse import PersonBody
from schemas.states import RefreshKind
from workers.handlers.bare import touching
from workers.handlers.outcomes import Outcome


def changed(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """Any of the three."""
    return touching(delivery, body, account, PersonBody, lambda person: (RefreshKind.SUBSCRIBER, person.person_id, ""))
