"""Figures as a person reads them: the machine, medians with their spread, ratios against their goals."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured, in so many interleaved runs."""

    name: str
    runs: Sequence[float]
    #: Further figures, as they stand in the table.
    more: Sequence[str] = ()

    @property
    def median(self) -> float:
        """The middle run."""
        return median(self.runs)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One row in relation to another; a goal where there is one."""

    name: str
    over: Row
    under: Row
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """Of the medians."""
        return self.over.median / self.under.median

    @property
    def verdict(self) -> str:
        """The goal and whether it was reached."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}: {'reached' if self.value >= self.at_least else 'MISSED'}"
        if self.at_most is not None:
            return f"≤ {self.at_most:g}: {'reached' if self.value <= self.at_most else 'MISSED'}"
        return ""


def interleaved(runs: int, measures: Sequence[Callable[[], float]]) -> list[list[float]]:
    """Run every measure once, in turn, then all of them again: what disturbs the machine disturbs them alike."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(runs):
        for figures, measure in zip(found, measures, strict=True):
            figures.append(measure())
    return found


def machine(*programs: str) -> None:
    """Say what this was measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cpu = model.group(1) if model else platform.processor()
    click.echo(f"\n{os.cpu_count()} cores, {cpu}, {platform.system()}; Python {platform.python_version()}; {'; '.join(programs)}\n")


def first_line(*command: str) -> str:
    """The first line that a program prints, for its version."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().partition("\n")[0]


def rates(title: str, rows: Sequence[Row], unit: str = "per second", more: Sequence[str] = ()) -> None:
    """Print medians with the least and the greatest run."""
    table((title, unit, "least to greatest", *more), [(row.name, _figure(row.median), _spread(row), *row.more) for row in rows])


def ratios(found: Sequence[Ratio]) -> None:
    """Print the ratios of medians and what became of their goals."""
    table(("ratio of medians", "", "goal"), [(one.name, f"{one.value:.2f}", one.verdict) for one in found])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    ruled = [head, ["-" * width for width in widths], *rows]
    for row in ruled:
        click.echo(f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |")
    click.echo()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _spread(row: Row) -> str:
    return f"{_figure(min(row.runs))} to {_figure(max(row.runs))}"
