"""`muster status`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, json_option, print_json, settings_for, with_database
from workers.cli.screen import ago, local_time


@click.command()
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """Say how things stand: deliveries, the mirror, what waits, drift, and what has gone quiet."""
    settings = settings_for(config, Role.WORKER)
    figures = with_database(settings, lambda: _figures(settings))
    if as_json:
        print_json(figures)
        return
    for name, text in _lines(figures):
        click.echo(f"{name:<14} {text}")


def _lines(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    now, refreshes = figures["as_of"], figures["refreshes"]
    yield "as of", local_time(now)
    yield "deliveries", "  ".join(f"{state} {count}" for state, count in figures["deliveries"].items())
    yield "subscriptions", "  ".join(f"{state} {count}" for state, count in figures["subscriptions"].items())
    yield from _followups(figures)
    yield "last received", ago(figures["last_received"], now)
    yield "oldest waiting", ago(figures["oldest_waiting"], now)
    if figures["held_envelopes"]:
        yield "held", f"{figures['held_envelopes']} envelopes of a newer version: upgrade the workers"
    for queue in figures["queues"]:
        yield "queue", f"{queue['name']}: {queue['messages']} messages, {queue['consumers']} consumers"
    if refreshes["waiting"]:
        yield "to be fetched", f"{refreshes['waiting']}, the oldest touched {ago(refreshes['oldest'], now)}, {refreshes['failing']} failing"
    for run in figures["reconciles"]:
        yield "reconcile", _run(run) + f", began {ago(run['began_at'], now)}" + _error(run["error"])
    for account, kinds in figures["drift"].items():
        if any(kinds.values()):
            yield "drift", f"{account}: " + ", ".join(f"{kind} {rows}" for kind, rows in kinds.items() if rows)
    yield from _freshness(figures["freshness"], now)
    if figures["without_api"]:
        yield "hints alone", f"{', '.join(figures['without_api'])}: no API is configured that could confirm what webhooks say"


def _followups(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for noun in ("followups", "enrollments"):
        if figures[noun]:
            yield noun, "  ".join(f"{state} {count}" for state, count in figures[noun].items())
    if figures["overdue"] or figures["alarms"]:
        yield "look at", f"overdue {figures['overdue']}  alarms {figures['alarms']}: `muster followups list --overdue`, `--alarms`"


def _freshness(fresh: dict[str, Any], now: Any) -> Iterator[tuple[str, str]]:
    for one in fresh["sources"]:
        yield "source", f"{_quiet(one)}{one['name']} of {one['account']}: last delivery {ago(one['last_delivery'], now)}"
    for one in fresh["polls"]:
        failures = f", {one['failures']} failures since" if one["failures"] else ""
        text = f"{one['name']} of {one['account']}: last success {ago(one['last_success'], now)}{failures}"
        yield "poll", _quiet(one) + text + _error(one["error"])
    for one in fresh["receivers"]:
        yield "receiver", _quiet(one) + _receiver(one, now)
    for one in fresh["subscribers"]:
        yield "subscriber", f"{_quiet(one)}{one['name']} of {one['account']}: {one['state']}, for {one['event']}"


def _receiver(one: dict[str, Any], now: Any) -> str:
    spooled = f"{one['spooled']} spooled" + (f", the oldest {ago(one['spooled_since'], now)}" if one["spooled"] else "")
    rejected = f", {one['rejected']} rejected, the last {ago(one['rejected_last'], now)}" if one["rejected"] else ""
    lost = f", {one['rejected_lost']} more not kept" if one["rejected_lost"] else ""
    full = ", its spool is full" if one["spool_full"] else ""
    return f"{one['name']}: {'stopped' if one['stopped'] else 'as of'} {ago(one['as_of'], now)}, {spooled}{full}{rejected}{lost}"


def _run(run: dict[str, Any]) -> str:
    found = ", ".join(f"{name} {run[name]}" for name in ("missing", "extra", "different"))
    return f"{run['account']}: {run['state']}{' (dry run)' if run['dry_run'] else ''}: {found}"


def _quiet(one: dict[str, Any]) -> str:
    return "QUIET " if one["quiet"] else ""


def _error(error: str | None) -> str:
    return f": {error}" if error else ""


async def _figures(settings: Settings) -> dict[str, Any]:
    from schemas.delivery import now_utc
    from workers.operations import health

    found = await health.status(now_utc(), settings.accounts)
    return asdict(found) | {"quiet": found.freshness.quiet, "queues": await _queues(settings)}


async def _queues(settings: Settings) -> list[dict[str, Any]]:
    if settings.broker_url is None:
        from receiver.spool import FILE, REPLAYS, depth

        files = {"spool": FILE, "replays": REPLAYS}
        return [{"name": name, "messages": depth(settings.data_dir, file), "consumers": 0} for name, file in files.items()]
    from schemas.broker_faults import BROKER_FAULTS
    from workers.operations.health import queue_depths

    try:
        return [asdict(queue) for queue in await queue_depths(settings.broker_url)]
    except BROKER_FAULTS as error:
        click.echo(f"the broker cannot be reached ({type(error).__name__}): no queue depths", err=True)
        return []
