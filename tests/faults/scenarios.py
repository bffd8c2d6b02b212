"""The scenarios by name."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tests.faults.followups import followups, followups_embedded
from tests.faults.kills import embedded, receiver, worker
from tests.faults.outages import alarm, broker, database
from tests.faults.relaying import relay
from tests.faults.replays import replay, replay_embedded
from tests.faults.trial import Figures, Ground

SCENARIOS: Mapping[str, Callable[[Ground], Coroutine[Any, Any, Figures]]] = {
    "receiver": receiver,
    "embedded": embedded,
    "worker": worker,
    "broker": broker,
    "alarm": alarm,
    "database": database,
    "relay": relay,
    "replay": replay,
    "replay-embedded": replay_embedded,
    "followups": followups,
    "followups-embedded": followups_embedded,
}
