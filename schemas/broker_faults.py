"""How the broker fails a connection, for both sides of it: what to expect from aio-pika and aiormq, and their traps."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from schemas.cancellation import cancellation_kept

#: Anything else is an error of ours. ChannelInvalidStateError, for a channel that is gone, is no AMQPError.
BROKER_FAULTS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)

#: Seconds between the end of a connection that served and the first attempt at the next.
RECONNECT_PAUSE = 0.2


@contextmanager
def as_broker_faults() -> Iterator[None]:
    """What aio-pika and aiormq raise in their own ways becomes a broker's fault; a cancellation of this task stays one.

    aiormq cancels whoever waits on a connection that it gives up, and whoever asks for a channel of one that has just been closed gets a
    bare RuntimeError.
    """
    with cancellation_kept() as cancelled:
        try:
            yield
        except RuntimeError as error:
            if type(error) is RuntimeError and str(error).endswith(" closed"):
                raise ConnectionError("the connection is closed") from None
            raise
        except asyncio.CancelledError:
            if cancelled():
                raise
            raise ConnectionError("the broker missed its heartbeats") from None


def told(fault: BaseException) -> str:
    """What a fault is, for people: its name, and where it is about TLS the setting too; no values."""
    doubt = getattr(fault.__cause__ or fault, "verify_message", None)
    if doubt is not None:
        return f"its certificate is not trusted, {doubt}: name its authority's with ?cafile=FILE in `broker`"
    if isinstance(fault, FileNotFoundError):
        return "a file that `broker` names for TLS is not there"
    return type(fault).__name__
