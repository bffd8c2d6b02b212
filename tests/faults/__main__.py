"""`python -m tests.faults`: every scenario at length, the seed, a table of figures; exits 1 if anything does not hold."""

import asyncio
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Figures, Ground
from tests.services import Missing
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

_COLUMNS = ("scenario", "faults", "hit work", "acknowledged", "applied", "suppressed", "lost", "refused", "p50 ms", "p99 ms", "verdict")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*SCENARIOS, "all"]))
@click.option(
    "--kills", default=50, type=click.IntRange(1), help="Kills in each scenario that must hit work in flight; outages in proportion."
)
@click.option("--seed", type=int, help="Repeat a run's choices.")
def main(names: Sequence[str], kills: int, seed: int | None) -> None:
    """Kill muster's processes and stop its servers under load, and hold what was acknowledged against the database."""
    chosen = list(SCENARIOS) if not names or "all" in names else list(dict.fromkeys(names))
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}, {kills} kills in each scenario")
    try:
        with _ground(kills, seed) as ground:
            found = [_run(name, ground) for name in chosen]
    except Missing as error:
        raise click.ClickException(str(error)) from None
    click.echo("\n" + table(found))
    sys.exit(any(figures.problems for figures in found))


def table(found: Sequence[Figures]) -> str:
    """The figures, a row for each scenario."""
    rows = [_COLUMNS, *(_row(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


@contextmanager
def _ground(kills: int, seed: int) -> Iterator[Ground]:
    rabbitmq, postgres = RabbitMQ(), Postgres(durable=True)
    try:
        rabbitmq.start()
        postgres.start()
        with tempfile.TemporaryDirectory(prefix="muster-faults-") as home:
            yield Ground(Path(home), kills, seed, (rabbitmq, postgres))
    finally:
        rabbitmq.remove()
        postgres.remove()


def _run(name: str, ground: Ground) -> Figures:
    found = asyncio.run(SCENARIOS[name](ground))
    click.echo(f"{name}: {found.acknowledged} acknowledged, {found.lost} lost")
    for line in found.notes:
        click.echo(f"    {line}")
    for line in found.problems:
        click.echo(f"    PROBLEM: {line}")
    return found


def _row(one: Figures) -> tuple[str, ...]:
    counts = (one.faults, one.hit, one.acknowledged, one.applied, one.suppressed, one.lost, one.refused)
    return (one.scenario, *map(str, counts), f"{one.p50:.1f}", f"{one.p99:.1f}", "fails" if one.problems else "holds")


if __name__ == "__main__":
    main()
