"""Through the real command line every process costs a second, so a test takes turns: the first of a file on the first database,
the second on the next. What the commands call runs on both, and the ways through a running muster on every transport.
EVERY_COMBINATION=1 runs everything.
"""

import os
from collections import defaultdict
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_TURNS = ("database_url",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one combination of each test, of another test another one."""
    if os.environ.get("EVERY_COMBINATION"):
        return
    variants: defaultdict[tuple[Path, str], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if _HERE in item.path.parents and isinstance(item, pytest.Function) and (turn := _turn(item)) is not None:
            variants[item.path, f"{item.originalname}/{turn}"].append(item)
    dropped = set[pytest.Item]()
    seen: defaultdict[tuple[Path, int], int] = defaultdict(int)
    for (path, _), those in variants.items():
        number = seen[path, len(those)]
        seen[path, len(those)] += 1
        dropped |= {item for index, item in enumerate(those) if index != number % len(those)}
    config.hook.pytest_deselected(items=sorted(dropped, key=lambda item: item.nodeid))
    items[:] = [item for item in items if item not in dropped]


def _turn(item: pytest.Function) -> str | None:
    """What tells this test from its twins, apart from what it runs on; None if it runs on nothing that takes turns."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    if not any(name in params for name in _TURNS):
        return None
    return "/".join(f"{name}={value}" for name, value in sorted(params.items()) if name not in _TURNS)
