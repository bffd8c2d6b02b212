"""Mistakes in the settings, told all at once: the key's path, what is wrong, what to do. None holds a value that was given."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in the settings, and what to do about it; holds no value that was given."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}"


class SettingsError(Exception):
    """The settings hold mistakes; all of them are here."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def without_consequences(mistakes: list[Mistake]) -> list[Mistake]:
    """Leave out what is only wrong because the file that would give it cannot be read."""
    told = {mistake.path for mistake in mistakes}
    return [mistake for mistake in mistakes if f"{mistake.path}_file" not in told]


#: What to do about the mistakes that pydantic finds, by its error type; everything else is told by its message.
_REMEDIES = {
    "extra_forbidden": "Remove it; it may be misspelt, or belong to another section",
    "missing": "Add it",
    "union_tag_not_found": "Name a scheme: token, basic, hmac, sha256-concat, standard-webhooks or none",
    "union_tag_invalid": "Take one of token, basic, hmac, sha256-concat, standard-webhooks or none",
}
#: What pydantic says in words of its own.
_PROBLEMS = {"union_tag_not_found": "names no scheme, and the vendor has no preset"}
_SCHEMES = {"token", "basic", "hmac", "sha256-concat", "standard-webhooks", "none"}


def mistakes_in(error: ValidationError, raw: Any) -> list[Mistake]:
    """What pydantic found, but for what it says of a whole because a part of it is wrong."""
    found = error.errors(include_input=False, include_url=False)
    inner = {one["loc"][:end] for one in found for end in range(len(one["loc"]))}
    return [_mistake(one, raw) for one in found if one["loc"] not in inner]


def _mistake(error: Any, raw: Any) -> Mistake:
    path = ".".join(_steps(error["loc"], raw))
    if error["type"] == "extra_forbidden":
        return Mistake(path, "unknown key", _REMEDIES["extra_forbidden"])
    message = _PROBLEMS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    return Mistake(path, message[0].lower() + message[1:], _REMEDIES.get(error["type"], "Correct the value"))


def _steps(loc: Iterable[Any], raw: Any) -> Iterator[str]:
    """The steps to a mistake as they were written: without a scheme's tag, or a number where no list stands."""
    for step in loc:
        if (isinstance(raw, dict) and step in raw) or (isinstance(raw, list) and isinstance(step, int)):
            raw = raw[step]
        elif isinstance(step, int) or step in _SCHEMES:
            continue
        yield str(step)
