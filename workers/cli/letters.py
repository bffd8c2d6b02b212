"""How what was given up is shown: by reason, one by one, and one with all that belongs to it. For `muster dead`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from schemas.states import EXPLANATIONS, DeadKind, Reason
from workers.cli.screen import local_time, print_table

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.operations.letters import Group, Letter, Shown

#: What it means for each kind to be tried again, and to be dropped.
MEANS: Mapping[DeadKind, tuple[str, str]] = {
    DeadKind.DELIVERY: ("is processed again, by the code and the settings of today", "is settled, and stays in the log"),
    DeadKind.ENROLLMENT: ("is due at the vendor at once", "is asked for no more, and the needs that wait for it are cancelled"),
    DeadKind.RECORDING: ("is due at 4HSE at once", "is not written, and a need that waits for the certificate is cancelled"),
    DeadKind.EVENT: ("is tried on, as if for the first time", "is deleted, which leaves a gap in its subject's sequence"),
}
_UNTOLD = "tried five times or more, and nobody confirmed that it is there: is the relay up (`/readyz`), is the disk full?"


def group_table(groups: Sequence["Group"]) -> None:
    """How much of each kind, for which reason, and when."""
    rows = [
        (one.kind, one.reason, f"{one.count:,}", local_time(one.first_at), local_time(one.last_at), ", ".join(one.accounts))
        for one in groups
    ]
    print_table(("kind", "why", "count", "first", "last", "account"), rows)


def letter_table(letters: Sequence["Letter"]) -> None:
    """One a line."""
    rows = [(one.kind, one.id, one.account, one.about, one.reason, local_time(one.at)) for one in letters]
    print_table(("kind", "id", "account", "what", "why", "since"), rows)


def group_json(one: "Group") -> dict[str, Any]:
    """A group as JSON shows it."""
    return asdict(one) | {"explanation": _explanation(one.kind, one.reason)}


def shown_json(found: "Shown") -> dict[str, Any]:
    """One as JSON shows it."""
    one = found.letter
    return asdict(one) | {"explanation": _explanation(one.kind, one.reason), "row": _readable(found.row), "needs": [*found.needs]}


def print_shown(found: "Shown") -> None:
    """One, with what can be done about it."""
    one = found.letter
    head = {"kind": one.kind, "id": one.id, "account": one.account, "source": one.source, "since": local_time(one.at), "why": one.reason}
    if explained := _explanation(one.kind, one.reason):
        head[""] = explained
    for name, value in (head | _readable(found.row)).items():
        click.echo(f"{name:12} {'-' if value is None else value}")
    if found.needs:
        click.echo()
        rows = [(need["id"], need["rule"], need["action_subscription_id"], need["state"], need["reason"]) for need in found.needs]
        print_table(("follow-up", "rule", "subscription", "state", "why"), rows)
    again, dropped = MEANS[one.kind]
    click.echo(f"\nmuster dead replay {one.id}: it {again}\nmuster dead drop {one.id} --because …: it {dropped}")


def told(what: str, letters: Sequence["Letter"], done: Sequence["Letter"]) -> str:
    """How many of each kind it was done to, and how many it was too late for."""
    counts, late = Counter(one.kind for one in done), len(letters) - len(done)
    said = "  ".join(f"{kind} {counts[kind]:,}" for kind in DeadKind if counts[kind])
    return f"{what}: {said or 'nothing'}" + (f"; {late:,} had moved on meanwhile" if late else "")


def _explanation(kind: DeadKind, reason: str) -> str | None:
    """Of a reason of ours; vendors' words have to explain themselves."""
    if kind is DeadKind.EVENT:
        from workers.operations.letters import UNTOLD

        return _UNTOLD if reason == UNTOLD else None
    return EXPLANATIONS[Reason(reason)] if kind is DeadKind.DELIVERY and reason in [*Reason] else None


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for the screen and for JSON, which has no bytes."""
    return {name: bytes(value).decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for name, value in row.items()}
