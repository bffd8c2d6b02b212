"""`python -m tests.bench accept|apply|clock|followup|growth|reconcile|replay [--runs N] [--quick] [--rows N]`."""

import signal
import sys
from collections.abc import Callable

import click

from tests.bench import accept, apply, clock, followup, growth, reconcile, replay
from tests.bench.load import NoLoadGenerator
from tests.services import Missing

SUBJECTS: dict[str, Callable[..., None]] = {
    "accept": accept.measure,
    "apply": apply.measure,
    "clock": clock.measure,
    "followup": followup.measure,
    "growth": growth.measure,
    "reconcile": reconcile.measure,
    "replay": replay.measure,
}


@click.command()
@click.argument("subject", type=click.Choice(list(SUBJECTS)))
@click.option("--runs", default=5, show_default=True, help="Interleaved runs of each candidate; the median counts.")
@click.option("--quick", is_flag=True, help="A smoke run: short, small, its figures are worth nothing.")
@click.option("--rows", default=1_000_000, show_default=True, help="reconcile: rows at the vendor.")
def bench(subject: str, *, runs: int, quick: bool, rows: int) -> None:
    """Measure muster beside the alternatives, on private servers of its own."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the private servers end with it
    try:
        SUBJECTS[subject](runs, quick=quick, **({"rows": rows} if subject == "reconcile" else {}))
    except (Missing, NoLoadGenerator) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    bench()
