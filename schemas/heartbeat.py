"""A receiver's sign of life, with what its own host alone knows: the spool, and what failed verification.

On the wire it is an envelope of kind `heartbeat` (JSON), on the exchange of the deliveries, which is all that a receiver may
write to, under the key `heartbeat.{name}`. What validates can be stored: nobody could bury a heartbeat that cannot.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

VERSION: Final = 1
KIND: Final = "heartbeat"

#: What stands in a routing key, a table and on the screen as it is.
RECEIVER_NAME = r"^[A-Za-z0-9._:-]{1,100}$"

Count = Annotated[int, Field(ge=0, le=2**62)]


class Heartbeat(BaseModel):
    """What a receiver tells of itself every few seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = VERSION
    kind: Literal["heartbeat"] = KIND
    name: Annotated[str, Field(pattern=RECEIVER_NAME, description="Which receiver it is.")]
    at: Annotated[AwareDatetime, Field(description="When it was so, by the receiver's clock.")]
    began_at: Annotated[AwareDatetime, Field(description="Since when the process runs.")]
    every: Annotated[float, Field(gt=0, le=3600, description="Seconds until the next one.")]
    program: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+!_-]{1,50}$", description="The version of muster that it runs.")]
    spooled: Annotated[Count, Field(description="Deliveries in the spool.")]
    spooled_since: Annotated[AwareDatetime | None, Field(description="Since when the oldest of them waits.")] = None
    spool_full: bool = False
    rejected: Annotated[Count, Field(description="Requests kept that failed verification.")] = 0
    rejected_last: Annotated[AwareDatetime | None, Field(description="When the last of them came.")] = None
    rejected_lost: Annotated[Count, Field(description="How many more failed it since the process runs, and could not be kept.")] = 0
    stopping: Annotated[bool, Field(description="The last one: the process was told to end.")] = False


def decode(message: bytes) -> Heartbeat:
    """Decode a heartbeat; raises pydantic's ValidationError, also for a version from the future."""
    return Heartbeat.model_validate_json(message)
