"""What a sweep of the clock costs in a large mirror beside one in a small mirror, with as many rows due in each."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import click
import uvloop

from schemas.accounts import Account, AnewspringAccount, FourhseAccount
from schemas.delivery import now_utc
from schemas.rules import Rule
from schemas.settings import LogSettings
from tests.bench import report, store
from tests.services.postgres import Postgres
from tests.workers.followups.mirrored import filled
from workers.cli.logging import configure
from workers.clock import Clock
from workers.followups import rule_states
from workers.followups.plan import Followups
from workers.mirror.apply import Mirror

DUE = 1000
_SMALL = 10_000

#: Certificates that expire over the next years, under random ids; {rows} is filled in.
_POPULATE = """
    INSERT INTO actions (account, action_id, expire_interval, gone, fetched_at)
    SELECT 'hse', 'action-' || n, 30, FALSE, now() FROM generate_series(0, 99) AS n;

    INSERT INTO action_subscriptions (
        account, action_subscription_id, state, action_id, subscriber_id, subscriber_code, subscriber_type, action_type, action_code,
        action_name, status, last_certificate_id, certificate_date_release, certificate_date_expire, flags, fetched_at, fetch_covers,
        changes_at)
    SELECT
        'hse', md5('subject-' || n)::uuid::text, 'live', 'action-' || n % 100, gen_random_uuid()::text, 'L' || n, 'PERSON', 'TRAINING',
        'FST-' || n % 100, 'Fire Safety Training Medium Risk', 'VALID', gen_random_uuid()::text, current_date - 365, current_date + days,
        '[]', now(), now(), (current_date + days - 30) AT TIME ZONE 'Europe/Rome'
    FROM (SELECT n, 40 + (n::bigint * 7919 % 1500)::int AS days FROM generate_series(1, {rows}) AS n) AS each;"""

#: What the last sweep changed is as it was, and so many others, spread over the table, have expired.
_SPOIL = f"""
    UPDATE action_subscriptions
    SET status = 'VALID', certificate_date_expire = current_date + 400, changes_at = (current_date + 370) AT TIME ZONE 'Europe/Rome'
    WHERE status = 'EXPIRED';

    UPDATE action_subscriptions SET certificate_date_expire = current_date - 2, changes_at = current_date - 1
    WHERE id IN (SELECT {{run}} + 1 + n * ({{rows}} / {DUE}) FROM generate_series(0, {DUE - 1}) AS n);

    TRUNCATE outbox, needs, need_targets, enrollments, followup_moves;"""
_DONE = """
    SELECT (SELECT count(*) FROM outbox WHERE type LIKE '%status_changed%') AS told,
           (SELECT count(*) FROM enrollments WHERE state = 'planned') AS planned"""
#: What follows from it: everybody whose certificate expires is to be enrolled.
_ACCOUNTS: Mapping[str, Account] = {
    "hse": FourhseAccount(vendor="4hse", access_token_file=Path("-")),
    "lms": AnewspringAccount(vendor="anewspring", base_url="https://lms.example", api_key_file=Path("-")),
}
_RULE = Rule.model_validate(
    {
        "name": "bench",
        "when": {"action_code": "FST-*", "status": ["EXPIRED"]},
        "enroll": {"account": "lms", "course": "FIRE"},
        "max_per_hour": 1_000_000,
    }
)


def measure(runs: int, *, quick: bool) -> None:
    """Measure both, interleaved."""
    configure(LogSettings(level="error"))
    sizes = (_SMALL, 50_000 if quick else 1_000_000)
    cluster = Postgres(durable=True)
    try:
        cluster.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            urls = {rows: cluster.create(f"clock{rows}") for rows in sizes}
            for rows, url in urls.items():
                runner.run(_populated(url, rows))
            figures: dict[int, list[float]] = {rows: [] for rows in sizes}
            for run in range(runs + 1):
                for rows, found in figures.items():
                    seconds = runner.run(_run(urls[rows], rows, run))
                    click.echo(f"  {rows:,} rows: {seconds * 1000:,.0f} ms", err=True)
                    if run:  # the first is for warming up
                        found.append(DUE / seconds)
        small, large = (report.Row(f"{rows:,} rows, {DUE:,} due", found) for rows, found in figures.items())
        report.rates("a sweep", [small, large], "rows due per second")
        report.ratios([report.Ratio("large / small", large, small, 0.5)])
    finally:
        cluster.remove()


async def _populated(url: str, rows: int) -> None:
    async with store.opened(url) as database:
        if rows == _SMALL:
            report.machine(f"{await store.version(database)}, fsync on, all settings at their defaults")
        began = time.perf_counter()
        await _executed(url, _POPULATE.format(rows=rows))
        await filled()
        await rule_states.apply(database.connection, database.dialect, [_RULE], now_utc())
        click.echo(f"{rows:,} rows: {await store.disk(database)}, loaded in {time.perf_counter() - began:.0f} s\n")


async def _run(url: str, rows: int, run: int) -> float:
    """Sweep what is due, and see that it was done; gives how long that took."""
    await _executed(url, _SPOIL.format(rows=rows, run=run % (rows // DUE)))
    async with store.opened(url) as database:
        await store.settle(database)
        clock = Clock(database, Mirror(followups=Followups([_RULE], _ACCOUNTS)), now_utc)
        began = time.perf_counter()
        changed = await clock.sweep()
        seconds = time.perf_counter() - began
        (done,) = await database.connection.execute_query_dict(_DONE)
    if (changed, done["told"], done["planned"]) != (DUE, DUE, DUE):
        raise RuntimeError(f"{rows:,} rows: {changed} changed, {done}, not {DUE} each")
    return seconds


async def _executed(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)  # a connection of its own: muster's own give up on a statement after a minute
    try:
        await connection.execute(script)
    finally:
        await connection.close()
