"""Every line of the log is an event of the table with keys of the table, and no value of it can be somebody's name."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas import logs
from schemas.logs import Log

ROOT = Path(__file__).parents[2]
_LOGGING = r"log\.(debug|info|warning|error|critical|exception)"
#: Keys whose values are ids, counts, times, names out of the settings, or names of ours.
KEYS = {
    *("account", "source", "vendor", "kind", "poll", "refresh", "resource", "call", "what", "version", "addresses", "remedy"),
    *(
        "delivery",
        "deliveries",
        "enrollment",
        "recording",
        "need",
        "rule",
        "state",
        "erasure",
        "run",
        "office",
        "subject",
        "subscriber",
        "event_id",
        "event_type",
        "type",
    ),
    *("outcome", "status", "reason", "error", "wrong", "step", "shown", "computed", "backfill", "dry_run", "block", "since"),
    *(
        "seconds",
        "times",
        "rows",
        "pages",
        "seen",
        "calls",
        "changed",
        "held",
        "spooled",
        "lost",
        "missing",
        "extra",
        "different",
        "unreadable",
    ),
}
#: What an error may be told by. Its own words may hold what a vendor, or a body, said.
NAMED = re.compile(r"type\(\w+\)\.__name__|str\((away|failed)\)|reason")


@dataclass(frozen=True)
class Line:
    """A call that logs."""

    place: str
    call: ast.Call

    @property
    def said(self) -> dict[str, str]:
        """Its keys, and the source of their values."""
        return {one.arg: ast.unparse(one.value) for one in self.call.keywords if one.arg}


def lines() -> Iterator[Line]:
    """Every call of a logger in the program."""
    for package in ("receiver", "schemas", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and re.fullmatch(_LOGGING, ast.unparse(node.func)):
                    yield Line(f"{path.relative_to(ROOT)}:{node.lineno}", node)


LINES = list(lines())


def test_events_are_named_domain_dot_event() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", one.value) for one in Log)
    assert len({one.value for one in Log}) == len(Log)


def test_every_event_of_the_table_is_logged_somewhere() -> None:
    sources = "".join(path.read_text() for package in ("receiver", "workers") for path in (ROOT / package).rglob("*.py"))

    assert {one.name for one in Log} == set(re.findall(r"\bLog\.([A-Z_]+)", sources))


@pytest.mark.parametrize("line", LINES, ids=lambda one: one.place)
def test_a_line_says_an_event_with_known_keys_and_an_error_by_its_name(line: Line) -> None:
    (event,) = line.call.args

    assert "Log." in ast.unparse(event) or ast.unparse(event).startswith("_LOGGED[")
    assert set(line.said) <= KEYS
    assert NAMED.fullmatch(line.said.get("error", "reason"))


def test_nothing_prints_or_logs_past_the_table() -> None:
    assert "never a secret" in (inspect.getdoc(logs) or "")
    for package in ("receiver", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if "cli" not in path.parts:
                assert not re.search(r"^\s*(print|logging\.(debug|info|warning|error))\(", path.read_text(), re.MULTILINE), path
