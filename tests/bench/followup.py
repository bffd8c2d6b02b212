"""How long until a webhook's enrollment request leaves for the LMS, at 100 deliveries a second."""

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import unquote

import click
import httpx2
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.bench import report
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from workers.simulators import anewspring, fourhse
from workers.simulators.acme import ACTION, COURSE, TENANT, tenancy
from workers.simulators.server import served

RATE = 100
#: Seconds after the last webhook within which every request has to have left.
_PATIENCE = 120.0
_CREATE, _KEY = "ACTION_SUBSCRIPTION::CREATE", "a-key-of-the-benchmark"

_TABLES = """
[worker]
clock_skew = {skew}
[accounts.hse]
vendor = "4hse"
base_url = "{hse}"
insecure = true
access_token_file = "key"
limits = {{ rate = 1000, concurrency = 16 }}
[accounts.lms]
vendor = "anewspring"
base_url = "{lms}"
insecure = true
api_key_file = "key"
limits = {{ rate = 1000, concurrency = 16 }}
[[rules]]
name = "bench"
when = {{ action_code = "FST-*" }}
enroll = {{ account = "lms", course = "{course}" }}
max_per_hour = 1000000
"""


@dataclass(slots=True)
class Timed:
    """The simulated LMS, and when it was first asked for whose seat."""

    app: ASGIApp
    asked: dict[str, float] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/subscribe/"):
            self.asked.setdefault(unquote(scope["path"].split("/")[3]), time.perf_counter())
        await self.app(scope, receive, send)


def measure(runs: int, *, quick: bool) -> None:
    """Measure with the default clock skew, and with none to speak of: the difference is waited for on purpose."""
    seconds = 3 if quick else 30
    cluster, node = Postgres(durable=True), RabbitMQ()
    rows = []
    try:
        cluster.start()
        node.start()
        report.machine(f"RabbitMQ {node.ctl('version').strip()}", "PostgreSQL, fsync on", "one receiver, one worker, simulated vendors")
        for skew in (5.0, 0.1):
            delays: list[list[float]] = []
            for run in range(1 if quick else runs):
                name = f"skew{int(skew * 10)}run{run}"
                with (
                    tempfile.TemporaryDirectory(prefix="muster-bench-") as home,
                    asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
                ):
                    delays.append(loop.run(_run(Path(home), node.vhost(), cluster.create(name), skew, seconds)))
                click.echo(f"  clock_skew {skew:g}: p50 {median(delays[-1]):.2f} s", err=True)
            rows.append((f"{skew:g}", *(f"{value:.2f}" for value in _shown(delays)), f"{sum(map(len, delays)):,}"))
        report.table(("clock_skew, s", "p50, s", "p99, s", "longest, s", "enrollments"), rows)
    finally:
        node.remove()
        cluster.remove()


def _shown(delays: list[list[float]]) -> tuple[float, float, float]:
    """The medians over the runs of p50, p99 and the longest."""
    return median(map(median, delays)), median(quantiles(one, n=100)[98] for one in delays), median(map(max, delays))


async def _run(home: Path, broker: str, database: str, skew: float, seconds: int) -> list[float]:
    company = tenancy()
    environment = anewspring.Environment(_KEY, company.now)
    environment.add_course(COURSE)
    people = {f"P{number:05}": _hire(company, environment, f"P{number:05}") for number in range(RATE * seconds)}
    timed = Timed(anewspring.simulator(environment))
    (home / "key").write_text(_KEY)
    async with served(fourhse.simulator(company, fourhse.Keycloak({}, keys={_KEY}))) as hse, served(timed) as lms:
        muster = Muster(
            home, broker=broker, database=database, tables=_TABLES.format(skew=skew, hse=hse, lms=lms, course=COURSE), forks=False
        )
        try:
            await asyncio.to_thread(_start, muster)
            sent = await _send(muster, company, people)
            async with asyncio.timeout(_PATIENCE):
                while len(timed.asked) < len(people):  # noqa: ASYNC110 - it is other processes that ask
                    await asyncio.sleep(0.1)
        finally:
            muster.close()
    await environment.close()
    return [timed.asked[learner] - sent[learner] for learner in people]


def _hire(company: fourhse.Tenancy, environment: anewspring.Environment, code: str) -> str:
    named = {"first_name": "P", "last_name": code, "birth_date": "1980-02-29", "code": code, "project_id": TENANT}
    environment.add_user(code)
    return str(company.create("person", named)["person_id"])


def _start(muster: Muster) -> None:
    muster.run("init")
    muster.start("receive")
    muster.start("work")
    muster.run("rules", "apply", "bench", "--yes")


async def _send(muster: Muster, company: fourhse.Tenancy, people: Mapping[str, str]) -> dict[str, float]:
    """A duty for everybody, one every hundredth of a second, each told at once; when each was to be told, also if that was later."""
    sent: dict[str, float] = {}
    began = time.perf_counter()
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client, asyncio.TaskGroup() as group:

        async def tell(learner: str, body: Mapping[str, object]) -> None:
            answer = await client.post(muster.hook(_CREATE), json=body)
            assert answer.status_code == 200

        for number, (learner, person) in enumerate(people.items()):
            sent[learner] = began + number / RATE
            await asyncio.sleep(max(0.0, sent[learner] - time.perf_counter()))
            subscription = company.subscribe(ACTION, person)
            group.create_task(tell(learner, company.stored("action-subscription", company.tables["action-subscription"][subscription])))
    return sent
