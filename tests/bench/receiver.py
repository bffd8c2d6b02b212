"""`muster receive` for the benchmarks: the real process on a private broker, with the load's senders as its sources."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from schemas.logs import Log
from tests.bench.senders import SENDERS
from tests.services import until
from tests.services.muster import Muster, Process
from tests.services.rabbitmq import RabbitMQ


class Receiver:
    """One receiver process."""

    def __init__(self, home: Path, node: RabbitMQ) -> None:
        self._muster = Muster(home, broker=node.url(), sources=(), forks=False)
        with self._muster.config.open("a") as config:
            config.writelines(sender.settings for sender in SENDERS)
        self.port, self.config = self._muster.port, self._muster.config
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it is connected to the broker."""
        self._process = self._muster.start("receive")
        until(lambda: self._readiness()["broker"] == "up", 20, "the receiver's connection to the broker")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def accepted(self) -> int:
        """How many requests it has answered with 200."""
        return int(self._readiness()["answers"].get("200", 0))

    def never_spooled(self) -> None:
        """Raise unless every 200 was the broker's confirm, and none the spool's."""
        # A receiver always begins without a broker; what is told after it found one is a spool's work.
        told = self._muster.log("receive").partition(Log.BROKER_UP)[2]
        if Log.BROKER_AWAY in told or self._readiness()["spooled"]:
            raise RuntimeError("the receiver took to its spool: these are not figures of confirmed messages")

    def close(self) -> None:
        """Kill it."""
        self._muster.close()

    def _readiness(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._muster.receiver_port}/readyz", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
