"""The states and moves that the README draws."""

import re
from itertools import pairwise, product
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def moves(what: str) -> set[tuple[str, str]]:
    """Each arrow of `need` or `enrollment`: from which state to which."""
    found, groups = set[tuple[str, str]](), dict[str, list[str]]()
    for part in _parts(what):
        name, is_group, members = part.partition(" = ")
        if is_group:
            groups[name] = members.split(" | ")
            continue
        sides = [[state for one in side.split(" | ") for state in groups.get(one, [one])] for side in part.split(" ─▶ ")]
        found |= {move for left, right in pairwise(sides) for move in product(left, right)}
    return found


def _parts(what: str) -> list[str]:
    """What stands between wide gaps, without what is in parentheses."""
    (drawing,) = re.findall(r"^```text\n(need .*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    bare = re.sub(r"\n +\|", " |", re.sub(r" \([^)]*\)", "", drawing))
    (own,) = re.findall(rf"^{what} +(.*?)(?=^\S|\Z)", bare, re.MULTILINE | re.DOTALL)
    return [part.strip() for part in re.split(r"\n| {4,}", own) if part.strip()]
