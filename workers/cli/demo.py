"""`muster demo`."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from schemas import samples
from schemas.settings import LogSettings, Settings
from workers.cli.logging import configure
from workers.cli.options import run


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the demonstration, and why it is made."""

    story: str
    source: str
    event: str
    body: Any
    #: Send it with a secret that the receiver does not know.
    forged: bool = False


_INCOMPLETE = {key: value for key, value in samples.SUBSCRIPTION.items() if key != "subscriber_id"}
_COMPLETED = "COURSE_COMPLETED_SUCCESSFULLY"

STEPS = (
    Step("4HSE: a person owes a fire safety training", "hse", "ACTION_SUBSCRIPTION::CREATE", samples.SUBSCRIPTION),
    Step("4HSE sends it again: harmless", "hse", "ACTION_SUBSCRIPTION::CREATE", samples.SUBSCRIPTION),
    Step("somebody without the token tries", "hse", "ACTION_SUBSCRIPTION::DELETE", samples.SUBSCRIPTION, forged=True),
    Step("aNewSpring: a course was completed", "lms", "course_completed", samples.COURSE_COMPLETED),
    Step("iSpring Learn: likewise", "ispring", _COMPLETED, samples.SAMPLES["ispring", _COMPLETED]),
    Step("a body without its subscriber: kept, with a reason", "hse", "ACTION_SUBSCRIPTION::CREATE", _INCOMPLETE),
    Step("your own sender: the duty is gone", "forwarder", "ACTION_SUBSCRIPTION::DELETE", samples.SUBSCRIPTION),
    Step("a late CREATE does not bring it back", "hse", "ACTION_SUBSCRIPTION::CREATE", samples.SUBSCRIPTION),
)

_SECRET = "c2VjcmV0IG9mIHRoZSBkZW1vbnN0cmF0aW9u"  # noqa: S105 - of a receiver that lives for a minute on this machine
_SOURCES = {
    "hse": {"vendor": "4hse", "account": "hse", "verify": {"secrets": [_SECRET]}},
    "lms": {"vendor": "anewspring", "account": "lms", "verify": {"secrets": [_SECRET]}},
    "ispring": {"vendor": "ispring", "account": "ispring", "verify": {"secrets": [_SECRET]}},
    "forwarder": {"vendor": "4hse", "account": "hse", "verify": {"scheme": "standard-webhooks", "secrets": [f"whsec_{_SECRET}"]}},
}


@dataclass(slots=True)
class Outcome:
    """What became of a step."""

    step: Step
    answer: int
    state: str = "-"
    reason: str = "-"
    #: The subscription's state in the mirror afterwards.
    mirror: str = "-"

    @property
    def cells(self) -> tuple[str, ...]:
        """As a table's row."""
        return self.step.story, self.step.source, self.step.event, str(self.answer), self.state, self.reason, self.mirror


COLUMNS = ("what happens", "source", "event", "answer", "delivery", "reason", "subscription")


@click.command()
@click.option("--once", is_flag=True, help="End after the story, for scripts; so it does where nobody watches.")
def demo(once: bool) -> None:
    """Show the whole thing on this machine, with nothing to set up and nothing left behind.

    Starts muster embedded in a temporary directory, sends it the vendors' own examples as signed HTTP requests, and shows
    what became of each: the answer, the delivery's state in the log, and the compliance mirror.
    """
    configure(LogSettings(level="critical"))
    run(_demo, once or not sys.stdout.isatty())


async def _demo(once: bool) -> None:
    from workers.cli.process import stop_on_signals
    from workers.cli.serve import embedded

    stop = stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="muster-demo-") as directory:
        settings = _settings(Path(directory))
        async with embedded(settings) as process:
            running = asyncio.create_task(process.run(stop))
            try:
                await _ready(process.addresses[1], running)
                await _tell(settings, process.addresses[0])
                if not once and not stop.is_set():
                    click.echo(f"\nStill running: POST to {process.addresses[0]}/hooks/… as you like; Ctrl-C ends it.")
                    await asyncio.wait([running])
            finally:
                stop.set()
                await running


def _settings(directory: Path) -> Settings:
    port = {"port": 0}
    local = {"receiver_port": 0, "worker_port": 0}
    return Settings.model_validate({"data_dir": directory, "receiver": port, "local": local, "sources": _SOURCES})


async def _ready(url: str, running: "asyncio.Task[None]") -> None:
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as client:
        while not running.done():
            try:
                if (await client.get(f"{url}/readyz")).json()["workers"].get("database") == "up":
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)
    await running


async def _tell(settings: Settings, url: str) -> None:
    outcomes: list[Outcome] = []
    with _Screen(outcomes) as screen:
        for step in STEPS:
            outcomes.append(await _play(settings, url, step))
            screen.show()
    _summarise(outcomes)


async def _play(settings: Settings, url: str, step: Step) -> Outcome:
    from workers.cli.sending import send

    source = settings.sources[step.source]
    if step.forged:
        source = source.model_copy(update={"verify": _forged(step.source, settings)})
    answer, content = await asyncio.to_thread(send, url, step.source, source, step.event, json.dumps(step.body).encode())
    outcome = Outcome(step, answer)
    if isinstance(content, dict) and "id" in content:
        await _follow(outcome, content["id"])
    return outcome


def _forged(name: str, settings: Settings) -> Any:
    forged: Mapping[str, Any] = _SOURCES[name] | {"verify": {"secrets": ["guessed"]}}
    return type(settings.sources[name]).model_validate(forged).verify


async def _follow(outcome: Outcome, delivery: str) -> None:
    """Wait until the delivery is in the log, and look at the mirror."""
    from uuid import UUID

    from workers.operations.deliveries import one
    from workers.operations.subscriptions import by_id

    while (logged := await one(UUID(delivery))) is None:  # noqa: ASYNC110 - the row appears in a transaction of the worker's
        await asyncio.sleep(0.02)
    outcome.state = logged.state + (", a repeat" if logged.repeat_of else "")
    outcome.reason = f"{logged.reason}: {logged.detail}" if logged.detail else logged.reason or "-"
    rows = await by_id(samples.SUBSCRIPTION["action_subscription_id"])
    outcome.mirror = rows[0].state if rows else "-"


class _Screen:
    """A table that grows where somebody watches, and is printed once it is complete elsewhere."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        from rich.live import Live

        from workers.cli.screen import console

        self._outcomes = outcomes
        self._live = Live(console=console(), auto_refresh=False, vertical_overflow="visible") if sys.stdout.isatty() else None

    def __enter__(self) -> "_Screen":
        if self._live:
            self._live.start()
        return self

    def show(self) -> None:
        """Show the outcomes so far."""
        from workers.cli.screen import table

        if self._live:
            self._live.update(table(COLUMNS, (outcome.cells for outcome in self._outcomes)), refresh=True)

    def __exit__(self, *_: object) -> None:
        from workers.cli.screen import print_table

        if self._live:
            self._live.stop()
        else:
            print_table(COLUMNS, (outcome.cells for outcome in self._outcomes))


def _summarise(outcomes: list[Outcome]) -> None:
    accepted = [one for one in outcomes if one.answer == 200]
    states = ", ".join(f"{sum(one.state.startswith(state) for one in accepted)} {state}" for state in ("applied", "ignored", "dead"))
    click.echo(
        f"\n{len(outcomes)} requests: {len(accepted)} accepted and made durable, {len(outcomes) - len(accepted)} refused. "
        f"In the log: {states}. The subscription is {outcomes[-1].mirror} in the mirror."
    )
