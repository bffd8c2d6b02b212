"""`muster demo`."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas import samples
from schemas.delivery import now_utc
from schemas.settings import LogSettings, Settings
from workers.cli.logging import configure
from workers.cli.options import FAILED, run

if TYPE_CHECKING:  # the simulated vendors take a while to import, and `--help` needs none of them
    from workers.cli.worker_side import Worker
    from workers.mirror.tables import ActionSubscription
    from workers.simulators.acme import Acme

#: Seconds that something may take to show.
_PATIENCE = 30.0
_SECRET = "c2VjcmV0IG9mIHRoZSBkZW1vbnN0cmF0aW9u"  # noqa: S105 - of a receiver that lives for a minute on this machine
_SOURCES = {
    "hse": {"vendor": "4hse", "account": "hse", "verify": {"secrets": [_SECRET]}},
    "lms": {"vendor": "anewspring", "account": "lms", "verify": {"secrets": [_SECRET]}},
}
#: Everything that would take its time takes none here.
_POLLS = {"ispring": {"observations": "1s"}, "kare": {"attendance": "1s"}}
_RULE = {
    "name": "fire-safety",
    "when": {"action_code": "FST-*"},
    "enroll": {"account": "lms", "course": "EXAMPLECOURSE-0001", "due": "30d", "expire": "60d", "again": "resubscribe"},
    "pass": {"grade": 60},
    "undo": "unsubscribe",
    "record": {"certificate": "{action_name}"},
}


class Calendar:
    """The time in the demonstration, which may pass faster."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now_utc() + self.ahead


@dataclass(frozen=True, slots=True)
class Scene:
    """What a step has at hand."""

    acme: "Acme"
    settings: Settings
    url: str
    worker: "Worker"
    calendar: Calendar

    async def post(self, body: Mapping[str, Any], event: str, *, secret: str = _SECRET) -> int:
        """Send muster a webhook of 4HSE's, which 4HSE itself does not send; gives the answer's status."""
        from workers.cli.sending import send

        source = type(self.settings.sources["hse"]).model_validate(_SOURCES["hse"] | {"verify": {"secrets": [secret]}})
        status, _ = await asyncio.to_thread(send, self.url, "hse", source, event, json.dumps(body).encode())
        return status


#: What muster shows of a step, or None while it does not.
Proof = Callable[[Scene], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """Something happens at a vendor, and muster shows it."""

    story: str
    how: str
    play: Callable[[Scene], Awaitable[object]]
    proof: Proof


async def _row() -> "ActionSubscription | None":
    from workers.operations.subscriptions import by_id

    return next(iter(await by_id(samples.SUBSCRIPTION["action_subscription_id"])), None)


def _subscription(**expected: Any) -> Proof:
    """The subscription with these fields, fetched from 4HSE."""

    async def proof(_: Scene) -> str | None:
        row = await _row()
        if row is None or row.fetched_at is None or any(getattr(row, name) != value for name, value in expected.items()):
            return None
        if row.status is None:
            return row.state
        until = f" until {row.certificate_date_expire}" if row.certificate_date_expire else ""
        return f"{row.state}, {row.status}{until}: {row.action_name}, {row.subscriber_code}"

    return proof


def _last_delivery(state: str, *, repeat: bool = False) -> Proof:
    """The delivery that arrived last."""

    async def proof(_: Scene) -> str | None:
        from workers.operations.deliveries import find

        newest = (await find(limit=1))[0]
        if newest.state != state or repeat != (newest.repeat_of is not None):
            return None
        return "the log knows it as a repeat" if repeat else f"{newest.state}, {newest.reason}: {newest.detail}"

    return proof


def _result(noun: str, **expected: Any) -> Proof:
    """A result that the mirror holds now."""

    async def proof(_: Scene) -> str | None:
        from workers.operations.results import find

        found = [row for row in await find(noun) if all(getattr(row, name) == value for name, value in expected.items())]
        return f"{noun.replace('_', ' ')}: " + ", ".join(f"{name} {value}" for name, value in expected.items()) if found else None

    return proof


def _need(state: str, *, cycles: int = 1, seat: str) -> Proof:
    """The rule's last need for the subscription, and the learner's seat in the LMS itself."""

    async def proof(scene: Scene) -> str | None:
        from workers.followups.tables import Need
        from workers.simulators import acme

        needs = await Need.filter(action_subscription_id=acme.SUBSCRIPTION).order_by("created_at")
        found = scene.acme.environment.seats.get((acme.LEARNER, acme.COURSE))
        held = "none" if found is None or found.ended else "held"
        if len(needs) != cycles or needs[-1].state != state or held != seat:
            return None
        return f"need {state}" + (f": {needs[-1].reason}" if needs[-1].reason else "") + f"; seat in the course: {held}"

    return proof


async def _apply(scene: Scene) -> None:
    from workers.operations.rules import apply

    assert scene.worker.database is not None
    await apply(scene.worker.database, scene.settings.rules, scene.calendar())


async def _applied(scene: Scene) -> str | None:
    from workers.operations.rules import listed

    (rule,) = await listed(scene.settings.rules)
    return f"{rule.name}: {rule.state}" if rule.state == "applied" else None


async def _nothing(_: Scene) -> None:
    """Muster goes on by itself."""


async def _subscribe(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.tenancy.subscribe(acme.ACTION, acme.PERSON, action_subscription_id=acme.SUBSCRIPTION)


async def _repeat(scene: Scene) -> None:
    """4HSE sends the CREATE once more, to the letter."""
    send = scene.acme.tenancy.webhooks.send
    assert send is not None
    await send(_CREATE, samples.SUBSCRIPTION)


async def _forge(scene: Scene) -> None:
    assert await scene.post(samples.SUBSCRIPTION, _DELETE, secret="guessed") == HTTPStatus.UNAUTHORIZED  # noqa: S106 - wrong on purpose


async def _maim(scene: Scene) -> None:
    await scene.post({key: value for key, value in samples.SUBSCRIPTION.items() if key != "subscriber_id"}, _CREATE)


async def _complete(scene: Scene) -> None:
    from workers.simulators import acme

    # aNewSpring tells whole seconds, and a pass of the very second in which the duty was first seen does not count.
    await asyncio.sleep(1.1)
    scene.acme.environment.complete(acme.LEARNER, acme.COURSE, 67)


async def _observe(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.ispring.observe("an-employee", "an-observer", acme.CHECKLIST, result=60)


async def _attend(scene: Scene) -> None:
    scene.acme.kare.attend(7, scene.acme.kare.schedule(siteIds=[1]))


async def _lose(scene: Scene) -> None:
    """A colleague is put on the schedule while 4HSE's webhooks go nowhere; the next reconcile comes now instead of in a day."""
    from workers.schedules import hasten
    from workers.simulators import acme

    told, scene.acme.tenancy.webhooks.send = scene.acme.tenancy.webhooks.send, None
    scene.acme.tenancy.subscribe(acme.ACTION, acme.COLLEAGUE)
    scene.acme.tenancy.webhooks.send = told
    await hasten("hse", "reconcile", scene.calendar())


async def _drift(scene: Scene) -> str | None:
    from workers.mirror.tables import Drift

    drift = await Drift.filter(kind="missing").first()
    seat = scene.acme.environment.seats.get(("JS002", samples.COURSE_COMPLETED["course"]["id"]))  # type: ignore[index]
    # A refresh of the whole office may have come first.
    return None if seat is None else f"{'drift: missing in the mirror; healed' if drift else 'seen beside a colleague'}, and enrolled"


async def _pass_years(scene: Scene) -> None:
    """It is twenty days before the certificate expires."""
    row = await _row()
    assert row is not None
    assert row.certificate_date_expire is not None
    scene.calendar.ahead = timedelta(days=(row.certificate_date_expire - now_utc().date()).days - 20)


async def _delete(scene: Scene) -> None:
    from workers.simulators import acme

    scene.acme.tenancy.delete("action-subscription", acme.SUBSCRIPTION)


_CREATE, _DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"

STEPS = (
    Step("the operator says yes to a rule", "rules apply", _apply, _applied),
    Step("4HSE: a person owes a fire safety training", "webhook, then the API", _subscribe, _subscription(state="live", status="NEW")),
    Step("  so the rule enrolls them in the course", "rule", _nothing, _need("enrolled", seat="held")),
    Step("the same webhook comes again: harmless", "webhook", _repeat, _last_delivery("applied", repeat=True)),
    Step("somebody without the token wants it deleted: 401", "webhook", _forge, _subscription(state="live")),
    Step("a body without its subscriber: kept, with a reason", "webhook", _maim, _last_delivery("dead")),
    Step("aNewSpring: the course is completed", "webhook, then the API", _complete, _result("course_result", grade=67.0, completed=True)),
    Step("  so 4HSE gets the certificate, and shows it", "rule, then the API", _nothing, _subscription(state="live", status="VALID")),
    Step("  and the need is met", "rule", _nothing, _need("valid", seat="held")),
    Step(
        "iSpring Learn: an observation, of which no webhook tells", "poll", _observe, _result("observation", status="PASSED", result=60.0)
    ),
    Step("Kare: an exercise was attended", "poll", _attend, _result("attendance", status="present")),
    Step("4HSE: a colleague owes it too, and the webhook is lost", "reconcile", _lose, _drift),
    Step("almost five years pass", "clock", _pass_years, _subscription(state="live", status="EXPIRING")),
    Step("  so the rule enrolls them again", "rule", _nothing, _need("enrolled", cycles=2, seat="held")),
    Step("4HSE: the duty is deleted", "webhook, then the API", _delete, _subscription(state="deleted")),
    Step("  so they are unsubscribed", "rule", _nothing, _need("undone", cycles=2, seat="none")),
    Step("a late CREATE does not bring it back", "webhook, then the API", _repeat, _subscription(state="deleted")),
)

COLUMNS = ("what happens", "how muster knows", "what it knows then")


@click.command()
@click.option("--once", is_flag=True, help="End after the story, for scripts; so it does where nobody watches.")
def demo(once: bool) -> None:
    """Show the whole thing on this machine, with nothing to set up and nothing left behind.

    Starts simulated vendors, who behave as their documents say, and muster embedded in a temporary directory. Things happen
    at the vendors; muster hears of them by webhooks, asks the vendors' APIs, and keeps the compliance mirror.
    """
    configure(LogSettings(level="critical"))
    run(_demo, once or not sys.stdout.isatty())


async def _demo(once: bool) -> None:
    from workers.cli.process import stop_on_signals
    from workers.cli.serve import embedded
    from workers.simulators.acme import acme

    stop, calendar = stop_on_signals(), Calendar()
    with tempfile.TemporaryDirectory(prefix="muster-demo-") as directory:
        async with (
            acme(Path(directory), calendar) as company,
            embedded(settings := _settings(Path(directory), company), calendar) as (process, worker),
        ):
            running = asyncio.create_task(process.run(stop))
            try:
                await _ready(process.addresses[1], running)
                async with company.tell(process.addresses[0], _SECRET):
                    told = await _tell(Scene(company, settings, process.addresses[0], worker, calendar), stop)
                    if not once and not stop.is_set():
                        click.echo(f"\nStill running: POST to {process.addresses[0]}/hooks/… as you like; Ctrl-C ends it.")
                        await asyncio.wait([running])
            finally:
                stop.set()
                await running
    if not told:
        sys.exit(FAILED)


def _settings(directory: Path, company: "Acme") -> Settings:
    accounts = {name: {**account, "polls": _POLLS[name]} if name in _POLLS else account for name, account in company.accounts.items()}
    quick = {"worker": {"clock_skew": 0.2}, "receiver": {"port": 0}, "local": {"receiver_port": 0, "worker_port": 0}}
    return Settings.model_validate({"data_dir": directory, "sources": _SOURCES, "accounts": accounts, "rules": [_RULE], **quick})


async def _ready(url: str, running: "asyncio.Task[None]") -> None:
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as client:
        while not running.done():
            with suppress(httpx2.TransportError):
                if (await client.get(f"{url}/readyz")).json()["workers"].get("database") == "up":
                    return
            await asyncio.sleep(0.05)
    await running


async def _tell(scene: Scene, stop: asyncio.Event) -> bool:
    """Play the story; whether all of it showed."""
    rows: list[tuple[str, str, str]] = []
    shown: list[bool] = []
    with _Screen(rows) as screen:
        for step in STEPS:
            if stop.is_set():
                break
            await step.play(scene)
            proof = await _proven(scene, step, stop)
            if proof is None and stop.is_set():
                break
            shown.append(proof is not None)
            rows.append((step.story, step.how, proof or f"does not show within {_PATIENCE:g} s"))
            screen.show()
    click.echo(f"\n{len(rows)} things happened, {sum(shown)} of them muster knows.")
    return all(shown)


async def _proven(scene: Scene, step: Step, stop: asyncio.Event) -> str | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while not stop.is_set():
                if (proof := await step.proof(scene)) is not None:
                    return proof
                await asyncio.sleep(0.05)
    return None


class _Screen:
    """A table that grows where somebody watches, and is printed once it is complete elsewhere."""

    def __init__(self, rows: list[tuple[str, str, str]]) -> None:
        from rich.live import Live

        from workers.cli.screen import console

        self._rows = rows
        self._live = Live(console=console(), auto_refresh=False, vertical_overflow="visible") if sys.stdout.isatty() else None

    def __enter__(self) -> "_Screen":
        if self._live:
            self._live.start()
        return self

    def show(self) -> None:
        """Show the rows so far."""
        from workers.cli.screen import table

        if self._live:
            self._live.update(table(COLUMNS, self._rows), refresh=True)

    def __exit__(self, *_: object) -> None:
        from workers.cli.screen import print_table

        if self._live:
            self._live.stop()
        else:
            print_table(COLUMNS, self._rows)
