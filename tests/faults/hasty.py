"""`python -m tests.faults.hasty work` is `muster work` for the hasty: every lease and wait is a fraction of what it is.

All are made shorter together, so that one that is longer than another stays so: nothing else about muster is changed.
"""

import functools
import importlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

#: What is minutes takes seconds; and a lease is never shorter than a busy machine needs.
SCALE, SHORTEST = 150, 2.0
#: Modules in an order in which none has taken over yet what is changed in another, and their spans of time.
_SPANS: Mapping[str, tuple[str, ...]] = {
    "workers.followups.leases": ("LEASE", "SETTLED"),
    "workers.refreshes": ("LEASE", "RETRIES"),
    "workers.outbox": ("LEASE",),
    "workers.schedules": ("RETRIES",),
    "workers.mirror.runs": ("LEASE", "BEAT"),
    "workers.mirror.offices": ("PATIENCE", "_MEANWHILE"),
    "workers.scheduler": ("LEASE", "REST"),
    "workers.clock": ("LONGEST", "AWAY", "LATER"),
    "workers.followups.recordings": ("LEASE",),
    "workers.followups.retries": ("RETRIES",),
    "workers.followups.enroller": ("_NOT_YET", "_UNHEARD", "_OURS"),
}


def hasten() -> None:
    """Shorten them in this process."""
    for path, names in _SPANS.items():
        module = importlib.import_module(path)
        given = {name: getattr(module, name) for name in names}
        shortened = {name: _shorter(value, SHORTEST if name in ("LEASE", "SETTLED") else 0.0) for name, value in given.items()}
        for name, value in shortened.items():
            setattr(module, name, value)
        _as_defaults(module, [(given[name], shortened[name]) for name in given])


@functools.singledispatch
def _shorter(value: Any, least: float) -> Any:
    raise TypeError(value)


@_shorter.register
def _(value: timedelta, least: float) -> timedelta:
    return max(value / SCALE, timedelta(seconds=least))


@_shorter.register(int)
@_shorter.register(float)
def _(value: float, least: float) -> float:
    return max(value / SCALE, least, 0.1)


@_shorter.register
def _(value: tuple, least: float) -> tuple[Any, ...]:  # type: ignore[type-arg]
    return tuple(_shorter(one, least) for one in value)


@_shorter.register
def _(value: dict, least: float) -> dict[Any, Any]:  # type: ignore[type-arg]
    return {key: _shorter(one, least) for key, one in value.items()}


def _as_defaults(module: Any, changed: list[tuple[Any, Any]]) -> None:
    """What a constructor takes for a default was taken over when its module was read."""
    for maker in (vars(one).get("__init__") for one in vars(module).values() if isinstance(one, type)):
        defaults = getattr(maker, "__kwdefaults__", None) or {}
        for name, value in defaults.items():
            defaults[name] = next((new for old, new in changed if old is value), value)


if __name__ == "__main__":
    hasten()
    from workers.cli import main

    main(prog_name="muster")
