"""`muster demo`."""

import asyncio
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.settings import LogSettings, Settings
from workers.cli.logging import configure
from workers.cli.options import FAILED, run
from workers.cli.story import SECRET, SOURCES, STEPS, Calendar, Scene, Shown, Step

if TYPE_CHECKING:  # the simulated vendors take a while to import, and `--help` needs none of them
    from workers.simulators.acme import Acme

#: Seconds that something may take to show.
_PATIENCE = 30.0
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
COLUMNS = ("what happens", "how muster knows", "what it knows then", "why")


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
                async with company.tell(process.addresses[0], SECRET):
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
    return Settings.model_validate({"data_dir": directory, "sources": SOURCES, "accounts": accounts, "rules": [_RULE], **quick})


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
    rows: list[tuple[str, ...]] = []
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
            rows.append((step.story, step.how, *(proof or (f"does not show within {_PATIENCE:g} s", ""))))
            screen.show()
    click.echo(f"\n{len(rows)} things happened, {sum(shown)} of them muster knows.")
    return all(shown)


async def _proven(scene: Scene, step: Step, stop: asyncio.Event) -> Shown | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while not stop.is_set():
                if (proof := await step.proof(scene)) is not None:
                    return proof
                await asyncio.sleep(0.05)
    return None


class _Screen:
    """A table that grows where somebody watches, and is printed once it is complete elsewhere."""

    def __init__(self, rows: list[tuple[str, ...]]) -> None:
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
