"""A server for fixtures: started, and gone in the end. One that is not installed skips its tests with the reason, or in CI fails them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.services import Missing, lacking
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

Server = TypeVar("Server", Postgres, RabbitMQ)


def running(made: Callable[[], Server]) -> Iterator[Server]:
    """A server that runs until it is let go."""
    try:
        server = made()
    except Missing as error:
        lacking(str(error))
    try:
        server.start()
        yield server
    finally:
        server.remove()
