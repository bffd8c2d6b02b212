"""iSpring's envelopes: consecutive events of one type, each with a state of its own."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.ispring import Completion
from schemas.states import Reason
from workers.handlers.bodies import Unparsable, parsed
from workers.handlers.outcomes import Applied, Dead, Ignored, Outcome
from workers.mirror.versions import COURSE_RESULT, Fact

#: So many bad payloads are named one by one.
_SHOWN = 5


def completed(delivery: Delivery, body: Any, _: Account | None) -> Outcome:
    """COURSE_COMPLETED_SUCCESSFULLY: each payload is a learner's completion of a course."""
    return _each(delivery, body, _completion)


def _each(delivery: Delivery, body: Any, read: Callable[[Delivery, Any], Fact]) -> Outcome:
    """What can be read applies; what cannot makes the delivery dead, by its place in the list."""
    event = delivery.event or ""
    payloads = body.get("payloads") if isinstance(body, dict) else None
    if not isinstance(payloads, list):
        return Dead(event, Reason.UNPARSABLE, "payloads: not a list")
    facts, wrong = list[Fact](), list[str]()
    for number, payload in enumerate(payloads, 1):
        try:
            facts.append(read(delivery, parsed(payload.encode()) if isinstance(payload, str) else payload))
        except (Unparsable, ValidationError) as error:
            wrong.append(f"payload {number} of {len(payloads)}: {_reason(error)}")
    if wrong:
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        return Dead(event, Reason.PAYLOAD_DEAD, "; ".join(wrong[:_SHOWN] + more), tuple(facts))
    return Applied(event, tuple(facts)) if facts else Ignored(event, Reason.NOT_HANDLED, "it holds no payload")


def _completion(delivery: Delivery, payload: Any) -> Fact:
    told = Completion.model_validate(payload)
    key = (told.learner_id, told.course_id, "", 0)
    return Fact(COURSE_RESULT, delivery.account, key, delivery.received_at, {"completed": True, "completed_at": told.completed_at})


def _reason(error: Unparsable | ValidationError) -> str:
    if isinstance(error, Unparsable):
        return str(error)
    wrong = error.errors(include_input=False, include_url=False)
    return ", ".join(f"{one['loc'][0] if one['loc'] else 'payload'}: {one['msg']}" for one in wrong)
