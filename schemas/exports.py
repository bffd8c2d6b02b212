"""Deliveries in a file, to be carried from one muster to another: JSON Lines, each line an `Exported`.

    {"muster": "delivery", "version": 1, "redacted": false, "state": "dead", "reason": "handler_failed", "delivery": {…}}

`delivery` is as in the broker's envelope (`schemas/delivery.py`): id and time are those of its arrival, its body is base64url. `state` and
`reason` say what became of it where it was exported; whoever imports it decides anew. A later version only adds fields, or is 2.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.delivery import Delivery


class Exported(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", hide_input_in_errors=True)

    muster: Literal["delivery"] = "delivery"
    version: Literal[1] = 1
    redacted: Annotated[bool, Field(description="Whether personal fields and headers were left out.")]
    state: str
    reason: str | None
    delivery: Delivery


class NotExported(Exception):
    """A line is no delivery that muster exported; the message says what is wrong with it, and quotes none of it."""


def line(exported: Exported) -> str:
    """The line, without its end."""
    return exported.model_dump_json(exclude={"delivery": {"attempt", "replay_of", "effects"}})


def read(text: str | bytes) -> Exported:
    """Read a line; raises NotExported."""
    try:
        return Exported.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise NotExported(f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}") from None
