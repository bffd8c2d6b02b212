"""The scenarios by name."""

from collections.abc import Awaitable, Callable, Mapping

from tests.faults.kills import embedded, receiver, worker
from tests.faults.outages import alarm, broker, database
from tests.faults.trial import Figures, Ground

SCENARIOS: Mapping[str, Callable[[Ground], Awaitable[Figures]]] = {
    "receiver": receiver,
    "embedded": embedded,
    "worker": worker,
    "broker": broker,
    "alarm": alarm,
    "database": database,
}
