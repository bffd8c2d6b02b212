"""`muster rejected`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from schemas.delivery import now_utc
from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, fail, json_option, print_json, run, settings_for
from workers.cli.screen import local_time, print_table
from workers.cli.spool import on_disk

if TYPE_CHECKING:
    from receiver.rejects import Rejected

_CHUNK = 100

source_option = click.option("--source", help="Only those of this source.")


@click.group()
def rejected() -> None:
    """Look into what failed verification on this host, and let in what verifies now.

    A receiver keeps such requests for a while beside its spool (receiver.rejected), and never processes them. Bodies and signatures
    are kept as they came; of tokens and other credentials there are digests alone. These commands run on the receiver's host, also
    while it runs.
    """


@rejected.command("list")
@config_option
@source_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many, newest first.")
@json_option
def list_rejected(config: Path | None, source: str | None, limit: int, as_json: bool) -> None:
    """List the newest requests that failed verification."""
    settings = settings_for(config, Role.RECEIVER)
    with on_disk(settings):
        found = [_summary(one) for one in _kept(settings, source)][-limit:][::-1]
    if as_json:
        print_json(found)
        return
    print_table(
        ("arrived", "source", "event", "from", "bytes", "id"),
        [(local_time(one["at"]), *list(one.values())[2:], one["id"]) for one in found],
    )


@rejected.command()
@config_option
@click.argument("request", type=click.UUID)
@json_option
def show(config: Path | None, request: UUID, as_json: bool) -> None:
    """Show one request, and why it would be refused now, or that it would not."""
    settings = settings_for(config, Role.RECEIVER)
    with on_disk(settings):
        found = next((one for one in _kept(settings, None) if one.id == request), None)
    if found is None:
        fail(f"no request {request} is kept in {settings.data_dir}")
    detail = _summary(found) | {
        "now": _verdict(settings, found),
        "headers": dict(found.request.headers),
        "query": dict(found.request.query),
        "body": found.request.body.decode("utf-8", "backslashreplace"),
    }
    if as_json:
        print_json(detail)
        return
    for name, value in detail.items():
        click.echo(f"{name:8} {'-' if value is None else local_time(value) if name == 'at' else value}")


@rejected.command()
@config_option
@source_option
@click.option("--dry-run", is_flag=True, help="Say what verifies now, and let nothing in.")
@json_option
def verify(config: Path | None, source: str | None, dry_run: bool, as_json: bool) -> None:
    """Verify again with the settings of today, after a wrong secret was mended, and let in what passes.

    What passes goes into the spool, with the id and the time under which it was rejected, so that doing it twice does nothing twice;
    a receiver that runs here takes it from there, `muster spool drain` does where none runs. How old a signature may be is judged at
    the request's arrival. What still fails stays. A source that asks for no proof lets nothing in this way.
    """
    settings = settings_for(config, Role.RECEIVER)
    with on_disk(settings):
        passed, refused, full = run(_verify, settings, source, dry_run)
    if as_json:
        print_json({"passed": dict(passed), "refused": [{"source": name, "why": why, "count": n} for (name, why), n in refused.items()]})
    else:
        _tell(passed, refused, dry_run)
    if full:
        fail("the spool is full: raise receiver.spool_max, or see to the broker; then go on with the same command")


async def _verify(settings: Settings, source: str | None, dry_run: bool) -> tuple[Counter[str], Counter[tuple[str, str]], bool]:
    """How many passed, of which source, and why others were refused; and whether the spool had no room for more."""
    from receiver.publisher import SpoolKeeper
    from receiver.rejects import forget
    from receiver.retrials import retried
    from receiver.spool import Spool, SpoolFull

    passed, refused, full, done = Counter[str](), Counter[tuple[str, str]](), False, list[UUID]()
    if next(_kept(settings, source), None) is None:
        return passed, refused, full
    spool = None if dry_run else Spool.open(settings.data_dir, settings.receiver.spool_max, owner=False)
    try:
        async for one, refusal in retried(_court(settings), _kept(settings, source), SpoolKeeper(spool) if spool else None):
            if refusal is None:
                passed[one.source] += 1
                done += [one.id] * (spool is not None)
            else:
                refused[one.source, str(refusal.__doc__)] += 1
            if len(done) == _CHUNK:
                forget(settings.data_dir, done)
                done.clear()
    except SpoolFull:
        full = True
    finally:
        if spool is not None:
            forget(settings.data_dir, done)
            await spool.close()
    return passed, refused, full


def _tell(passed: Counter[str], refused: Counter[tuple[str, str]], dry_run: bool) -> None:
    if not passed and not refused:
        click.echo("nothing that failed verification is kept here")
    for name, count in passed.items():
        click.echo(f"{name}: {count} verify now" + ("" if dry_run else ", and are in the spool"))
    for (name, why), count in refused.items():
        click.echo(f"{name}: {count} stay: {why}")
    if passed and not dry_run:
        click.echo("a receiver that runs here takes them from the spool; where none runs: `muster spool drain`", err=True)


def _kept(settings: Settings, source: str | None) -> Iterator["Rejected"]:
    from receiver.rejects import kept

    found = kept(settings.data_dir, now_utc() - settings.receiver.rejected.age)
    return (one for one in found if source is None or one.source == source)


def _court(settings: Settings) -> Any:
    from receiver.rejects import key
    from receiver.retrials import Court
    from receiver.sources import sources

    return Court(key(settings.data_dir), sources(settings), settings.receiver.trusted_proxies)


def _verdict(settings: Settings, one: "Rejected") -> str:
    from receiver.errors import Refusal

    try:
        _court(settings).judge(one)
    except Refusal as refusal:
        return str(refusal.__doc__)
    return "it would pass: `muster rejected verify` lets it in"


def _summary(one: "Rejected") -> dict[str, Any]:
    request = one.request
    return {"id": one.id, "at": one.at, "source": one.source, "event": request.event, "from": request.peer, "bytes": len(request.body)}
