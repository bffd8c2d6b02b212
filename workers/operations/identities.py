"""Identities by hand: list them, see whose are missing, import a file."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas.accounts import Account
from schemas.rules import Rule, Target
from workers.database import Database
from workers.followups.directory import Entry, known, write
from workers.followups.identities import KINDS, OFFICE, Known, asked, learner
from workers.followups.tables import Identity, Need
from workers.followups.walks import look_again, unmatched
from workers.mirror.tables import ActionSubscription

_COLUMNS = list(Entry._fields)
_PART = 500
_ROW = ("account", "action_subscription_id", "subscriber_type", "subscriber_id", "subscriber_code", "subtenant_id", "office_name")


class BadFile(Exception):
    """A file of identities with mistakes; each is here, and none of the file was imported."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that nobody knows in an account, and how many needs wait for it. `code` is the person's code, or the office's name."""

    account: str
    kind: str
    here: str
    code: str | None
    needs: int


async def find(*, account: str | None = None, kind: str | None = None, limit: int = 50) -> Sequence[Entry]:
    """What the table holds."""
    wanted = {"account": account, "kind": kind}
    rows = Identity.filter(**{name: value for name, value in wanted.items() if value}).order_by("account", "kind", "here")
    return [Entry(one.account, one.kind, one.here, one.there) for one in await rows.limit(limit)]


async def missing(database: Database, accounts: Mapping[str, Account]) -> list[Missing]:
    """Whom needs wait for, whatever else keeps them; what has no id, or none of a kind that the account knows, cannot be mapped."""
    waiting: defaultdict[tuple[str, str, str, str | None], set[object]] = defaultdict(set)
    needs = [need for need, _ in await unmatched(database)]
    for start in range(0, len(needs), _PART):
        part = await Need.filter(id__in=needs[start : start + _PART])
        rows = await _subscriptions(part)
        here = {str(row[name]) for row in rows.values() for name in ("subscriber_id", "subtenant_id")}
        table = await known(database.connection, accounts, here)
        for need in part:
            row = rows.get((need.account, need.action_subscription_id))
            for found in _unknown(Rule.from_snapshot(need.plan).targets(), row, accounts, table) if row else ():
                waiting[found].add(need.id)
    return [Missing(*who, needs=len(ids)) for who, ids in sorted(waiting.items(), key=lambda one: [str(part) for part in one[0]])]


async def _subscriptions(needs: Iterable[Need]) -> dict[tuple[str, str], Mapping[str, object]]:
    ids = {need.action_subscription_id for need in needs}
    rows = await ActionSubscription.filter(action_subscription_id__in=sorted(ids)).values(*_ROW)
    return {(row["account"], row["action_subscription_id"]): row for row in rows}


def _unknown(
    targets: Iterable[Target], row: Mapping[str, object], accounts: Mapping[str, Account], table: Mapping[str, Known]
) -> Iterator[tuple[str, str, str, str | None]]:
    for target in targets:
        account, here = accounts.get(target.account), asked(target.kind, row)
        if account is None or here is None or learner(target.kind, account, row, table[target.account]) is not None:
            continue
        code = row["office_name" if here[0] == OFFICE else "subscriber_code"]
        yield target.account, *here, None if code is None else str(code)


def read(path: Path, accounts: Mapping[str, Account]) -> list[Entry]:
    """The file's identities; raises BadFile with every mistake in it, and OSError."""
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile([f"it is no CSV in UTF-8: {error}"]) from None
    if not lines or lines[0] != _COLUMNS:
        raise BadFile([f"line 1: must be {','.join(_COLUMNS)}"])
    entries: list[Entry] = []
    mistakes, before = [], dict[tuple[str, ...], int]()
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        problem = _problem(line, accounts)
        first = before.setdefault(tuple(line[:3]), number)
        if problem is None and first != number:
            problem = f"line {first} has the same account, kind and here"
        if problem is None:
            entries.append(Entry(*line))
        else:
            mistakes.append(f"line {number}: {problem}")
    if mistakes:
        raise BadFile(mistakes)
    return entries


def _problem(line: Sequence[str], accounts: Mapping[str, Account]) -> str | None:
    if len(line) != len(_COLUMNS):
        return f"{len(line)} columns, not {len(_COLUMNS)}"
    entry = Entry(*line)
    wanted = KINDS.get(accounts[entry.account].vendor) if entry.account in accounts else None
    if wanted is None:
        return "no account of aNewSpring, iSpring or Kare of this name is configured"
    if entry.kind != wanted:
        return f"the kind must be {wanted} for this account"
    if any(not value or value != value.strip() for value in line):
        return "a value is empty, or begins or ends with a space"
    return "a Kare site is a number" if wanted == OFFICE and not (entry.there.isascii() and entry.there.isdigit()) else None


async def load(database: Database, path: Path, accounts: Mapping[str, Account], now: datetime) -> int:
    """Import a file, all of it or nothing, and have looked at again what waited for it; raises BadFile and OSError.

    Returns how many identities it holds.
    """
    entries = read(path, accounts)
    await write(database, entries)
    await look_again(database, now)
    return len(entries)
