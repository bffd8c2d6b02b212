"""`muster demo`."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.settings import LogSettings, Settings
from workers.cli.logging import configure
from workers.cli.options import FAILED, fail, run

if TYPE_CHECKING:  # the simulated vendors take a while to import, and `--help` needs none of them
    from workers.cli.story.known import Known
    from workers.cli.story.scene import Scene, Shown, Step
    from workers.simulators.acme import Acme

#: Seconds that something may take to show, and that muster takes to end where a part of it failed.
_PATIENCE, _GRACE = 30.0, 10.0
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

    stop = stop_on_signals()
    async with staged(stop) as (scene, running):
        told = await tell(scene, stop, running)
        if not once and not stop.is_set() and not running.done():
            click.echo(f"\nStill running: POST to {scene.url}/hooks/… as you like; Ctrl-C ends it.")
            await asyncio.wait([running])
    if (fault := running.exception()) is not None:
        fail(f"a part of muster has failed: {type(fault).__name__}: {fault}")
    if not told:
        sys.exit(FAILED)


@asynccontextmanager
async def staged(stop: asyncio.Event) -> AsyncIterator[tuple["Scene", "asyncio.Task[None]"]]:
    """The vendors, and muster, which runs until `stop` or until a part of it fails."""
    from workers.cli.serve import embedded
    from workers.cli.story.scene import SECRET, SOURCES, Calendar, Scene
    from workers.simulators.acme import acme

    calendar = Calendar()
    with tempfile.TemporaryDirectory(prefix="muster-demo-") as directory:
        async with (
            acme(Path(directory), calendar) as company,
            embedded(settings := _settings(Path(directory), company, SOURCES), calendar) as (process, worker),
        ):
            running = asyncio.create_task(process.run(stop))
            try:
                await _ready(process.addresses[1], running)
                async with company.tell(process.addresses[0], SECRET):
                    yield Scene(company, settings, process.addresses[0], worker, calendar), running
            finally:
                stop.set()
                await asyncio.wait([running])


def _settings(directory: Path, company: "Acme", sources: Mapping[str, Any]) -> Settings:
    accounts = {name: {**account, "polls": _POLLS[name]} if name in _POLLS else account for name, account in company.accounts.items()}
    quick = {"worker": {"clock_skew": 0.2}, "receiver": {"port": 0}, "local": {"receiver_port": 0, "worker_port": 0}}
    return Settings.model_validate({"data_dir": directory, "sources": sources, "accounts": accounts, "rules": [_RULE], **quick})


async def _ready(url: str, running: "asyncio.Task[None]") -> None:
    import httpx2

    async with httpx2.AsyncClient(trust_env=False) as client:
        while not running.done():
            with suppress(httpx2.TransportError):
                if (await client.get(f"{url}/readyz")).json()["workers"].get("database") == "up":
                    return
            await asyncio.sleep(0.05)


async def tell(scene: "Scene", stop: asyncio.Event, running: "asyncio.Task[None]", patience: float = _PATIENCE) -> bool:
    """Tell the story, until it ends or muster does; whether all of it showed. A step that was cut short is not told."""
    rows: list[tuple[str, ...]] = []
    shown: list[bool] = []

    async def telling() -> None:
        with _Screen(rows) as screen:
            async for step, proof in _played(scene, patience):
                shown.append(proof is not None)
                rows.append((step.story, step.how, *(proof or (f"does not show within {patience:g} s", ""))))
                screen.show()

    story, stopping = asyncio.create_task(telling()), asyncio.create_task(stop.wait())
    await asyncio.wait([story, stopping, running], return_when=asyncio.FIRST_COMPLETED)
    for task in (story, stopping):
        task.cancel()
    await asyncio.wait([story, stopping])
    if not story.cancelled() and (fault := story.exception()) is not None:
        await asyncio.wait([running], timeout=_GRACE)  # a step fails where a part of muster has failed before it
        if not running.done():
            raise fault
    click.echo(f"\n{len(rows)} things happened, {sum(shown)} of them muster knows.")
    return all(shown)


async def _played(scene: "Scene", patience: float) -> AsyncIterator[tuple["Step", "Shown | None"]]:
    """Play each step, and wait for it to show, up to the first that does not, on which the others rest.

    What follows from a step is held against what was known before that.
    """
    from workers.cli.story import STEPS

    before = await scene.look()
    for step in STEPS:
        if step.play is not None:
            before = await scene.look()
            await step.play(scene)
        yield step, (proof := await proven(scene, step, before, patience))
        if proof is None:
            break


async def proven(scene: "Scene", step: "Step", before: "Known", patience: float = _PATIENCE) -> "Shown | None":
    """What shows of a step, or None if nothing does in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while True:
                if (proof := step.proof(before, await scene.look())) is not None:
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
