"""An index's rows: what is seen, filtered by any field, sorted by one."""

from collections.abc import Mapping
from typing import Any

from workers.simulators.fourhse.compliance import COMPUTED, Register, shown
from workers.simulators.fourhse.kinds import HISTORY, KINDS, Row

_KEPT = 8


class Listing:
    """The ids of an index in its order; kept while nothing changes, for an index is asked for page after page."""

    def __init__(self) -> None:
        self._kept: dict[Any, list[str]] = {}

    def ids(self, register: Register, path: str, query: Mapping[str, Any], version: object) -> list[str]:
        """The ids of every row that the query asks for."""
        wanted, sort, history = query.get("filter") or {}, query.get("sort"), query.get("history") is True
        key = (path, repr(wanted), sort, history, version)
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = _sorted(_chosen(register, path, wanted, history=history), path, sort, register)
        return self._kept[key]


def unknown(path: str, wanted: Mapping[str, Any]) -> list[str]:
    """The fields of a filter that the index does not know."""
    return [name for name in wanted if name not in KINDS[path].fields and name not in COMPUTED.get(path, ())]


def _chosen(register: Register, path: str, wanted: Mapping[str, Any], *, history: bool) -> list[Row]:
    stored = {name: value for name, value in wanted.items() if name in KINDS[path].fields}
    computed = {name: value for name, value in wanted.items() if name not in stored}
    id_field = KINDS[path].id
    rows = [
        row
        for row in register.tables[path].values()
        if _fits(row, stored)
        and not register.hidden(row)
        and (history or path not in HISTORY or (register.active(row[id_field]) and register.parents_active(path, row)))
    ]
    return [row for row in rows if _fits(shown(path, row, register), computed)] if computed else rows


def _sorted(rows: list[Row], path: str, sort: str | None, register: Register) -> list[str]:
    name, id_field = (sort or "").removeprefix("-"), KINDS[path].id
    if name in KINDS[path].fields or name in COMPUTED.get(path, ()):
        seen = rows if name in KINDS[path].fields else [shown(path, row, register) for row in rows]
        rows = sorted(seen, key=lambda row: (row.get(name) is not None, _key(row.get(name))), reverse=(sort or "").startswith("-"))
    return [row[id_field] for row in rows]


def _key(value: Any) -> Any:
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _fits(row: Row, wanted: Mapping[str, Any]) -> bool:
    return all(any(_same(row.get(name), one) for one in (value if isinstance(value, list) else [value])) for name, value in wanted.items())


def _same(held: Any, asked: Any) -> bool:
    return held == asked or (held is not None and asked is not None and str(held).lower() == str(asked).lower())
