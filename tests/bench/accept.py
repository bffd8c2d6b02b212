"""How many webhooks a second one receiver process accepts, each 200 confirmed on a quorum queue, beside the alternatives."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from tests.bench import broker, load, report
from tests.bench.alternatives.serving import BROKER, PORT
from tests.bench.receiver import Receiver
from tests.bench.senders import SENDERS, write_requests
from tests.services import free_port, listens, until
from tests.services.rabbitmq import RabbitMQ

MIXES = {"one source": SENDERS[:1], "eight sources": SENDERS}


@dataclass(slots=True)
class Candidate:
    """A running receiver, and what was seen of it."""

    name: str
    port: int
    #: Whether its 200s stand for messages in the queue.
    queues: bool
    loads: list[load.Load] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)

    def row(self) -> report.Row:
        """Its line in the table."""
        middle = sorted(self.loads, key=lambda one: one.rate)[len(self.loads) // 2]
        shared = f"{sum(self.shared) / len(self.shared):.1f}" if self.shared else "none"
        return report.Row(self.name, [one.rate for one in self.loads], (f"{middle.p50_ms:.1f}", f"{middle.p99_ms:.1f}", shared))


def measure(runs: int, *, quick: bool) -> None:
    """Measure one source and eight, all candidates in turn."""
    seconds, warm_up = (2, 1) if quick else (10, 2)
    generator = load.version()
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        home, node = Path(folder), RabbitMQ()
        started = Started(home, node)
        try:
            node.start()
            broker.set_up(node.url())
            candidates = started.candidates()
            report.machine(f"RabbitMQ {node.ctl('version').strip()}, one node", generator)
            for mix, senders in MIXES.items():
                requests = write_requests(senders, home)
                for candidate in candidates:
                    _run(candidate, node.url(), requests, warm_up)
                    candidate.loads.clear()
                    candidate.shared.clear()
                report.interleaved(runs, [_runner(candidate, node.url(), requests, seconds) for candidate in candidates])
                _tell(mix, candidates, judged=len(senders) == 1)
            started.receiver.never_spooled()
        finally:
            started.close()
            node.remove()


def _runner(candidate: Candidate, url: str, requests: Sequence[Path], seconds: float) -> Callable[[], float]:
    return lambda: _run(candidate, url, requests, seconds)


def _run(candidate: Candidate, url: str, requests: Sequence[Path], seconds: float) -> float:
    """One run: send, then take out of the queue what the 200s promised. Whoever skips work does not get a figure."""
    seen = load.send(candidate.port, requests, seconds)
    drained = broker.drain(url)
    # A request that wrk leaves unanswered at the end of its time may be in the queue; none beyond those may.
    most = seen.answers + load.CONNECTIONS
    if candidate.queues and not seen.answers <= drained.deliveries <= most:
        raise RuntimeError(f"{candidate.name}: {seen.answers} answers of 200, and {drained.deliveries} deliveries in the queue")
    candidate.loads.append(seen)
    if candidate.queues:
        candidate.shared.append(drained.shared)
    return seen.rate


def _tell(mix: str, candidates: Sequence[Candidate], *, judged: bool) -> None:
    muster, dropping, one_each, frameworks = rows = [candidate.row() for candidate in candidates]
    report.rates(f"accept, {mix}", rows, more=("p50 ms", "p99 ms", "deliveries a message"))
    report.ratios(
        [
            report.Ratio("muster / verify and drop", muster, dropping, 0.45 if judged else None),
            report.Ratio("muster / one publish a request", muster, one_each, 2.0 if judged else None),
            report.Ratio("muster / FastAPI + FastStream", muster, frameworks, 3.0 if judged else None),
        ]
    )
    total = sum(one.answers for candidate in candidates for one in candidate.loads if candidate.queues)
    click.echo(f"{mix}: {total:,} answers of 200 in the measured runs, each of them found in the queue.\n")


class Started:
    """The candidates' processes: muster as an operator starts it, the alternatives as modules."""

    def __init__(self, home: Path, node: RabbitMQ) -> None:
        self._home, self._node = home, node
        self.receiver = Receiver(home / "muster", node)
        self._processes: list[subprocess.Popen[bytes]] = []

    def candidates(self) -> list[Candidate]:
        """Start them all."""
        self.receiver.start()
        return [
            Candidate("muster receive", self.receiver.port, queues=True),
            Candidate("verify and drop", self._start("verify_and_drop"), queues=False),
            Candidate("one aio-pika publish a request", self._start("one_publish_each"), queues=True),
            Candidate("FastAPI + FastStream", self._start("fastapi_faststream"), queues=True),
        ]

    def close(self) -> None:
        """End every process."""
        self.receiver.close()
        for process in self._processes:
            process.kill()
            process.wait(10)

    def _start(self, module: str) -> int:
        port = free_port()
        given = {PORT: str(port), BROKER: self._node.url(), "MUSTER_CONFIG": str(self.receiver.config)}
        with (self._home / f"{module}.log").open("ab") as log:
            command = [sys.executable, "-m", f"tests.bench.alternatives.{module}"]
            process = subprocess.Popen(command, env=os.environ | given, cwd=Path(__file__).parents[2], stdout=log, stderr=log)
        self._processes.append(process)
        until(lambda: listens(port) or process.poll() is not None, 20, f"the start of {module}")
        if process.poll() is not None:
            raise RuntimeError(f"{module} exited: {(self._home / f'{module}.log').read_text()[-2000:]}")
        return port
