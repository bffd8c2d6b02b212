"""4HSE's refusals as our errors: Yii2's 422 names fields, its exceptions carry a name and a message; either may be anything."""

import jiter

from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, VendorError
from workers.vendors.fourhse.shapes import Shape
from workers.vendors.http import Answer, Call

_LONGEST = 500


def refusal(call: Call, answer: Answer, shape: Shape, *, about_one: bool) -> VendorError:
    """What an answer that is no success means. `about_one`: the path names an entity, so that 404 can be about that."""
    complaints = _complaints(answer)
    if answer.status == 404 and about_one:
        return NotFound(call.name)
    if answer.status == 409 or (answer.status == 422 and any(_taken(one, shape) for one in complaints)):
        return Conflict("; ".join(map(str, complaints)) or call.name)
    return Refused(answer.status, complaints or (Complaint(None, call.name),))


def _taken(complaint: Complaint, shape: Shape) -> bool:
    # Our ids are sound, so that all there is to say against one is that it is taken, in whatever language.
    return complaint.field == shape.id or "already been taken" in complaint.message


def _complaints(answer: Answer) -> tuple[Complaint, ...]:
    try:
        content = jiter.from_json(answer.body)
    except ValueError:
        return ()
    if isinstance(content, list):
        found = [one for one in content if isinstance(one, dict)]
        return tuple(Complaint(_text(one.get("field")), _text(one.get("message")) or "refused") for one in found)
    message = _text(content.get("message")) if isinstance(content, dict) else None
    return (Complaint(None, message),) if message else ()


def _text(value: object) -> str | None:
    return str(value)[:_LONGEST] if value is not None else None
