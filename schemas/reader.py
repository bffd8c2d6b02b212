"""The one reader of `muster.toml`, of the environment and of the secret files they name.

Precedence: environment (`MUSTER_…`, nested with `__`), then the file, then the defaults. A role reads only its part: a receiver
never sees the database's URL, a worker never a webhook secret, and neither opens the other's secret files.
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from schemas.accounts import CREDENTIAL_FILES
from schemas.mistakes import Mistake, SettingsError, mistakes_in, without_consequences
from schemas.rules import faults
from schemas.settings import Settings

CONFIG_VARIABLE = "MUSTER_CONFIG"
DEFAULT_CONFIG = Path("muster.toml")
_PREFIX = "MUSTER_"


class Role(StrEnum):
    """Which part of the settings a process reads."""

    RECEIVER = "receiver"
    WORKER = "worker"
    ALL = "all"


_SHARED_KEYS = {"broker", "broker_file", "data_dir", "local", "log", "tracing"}
_ROLE_KEYS = {
    Role.RECEIVER: _SHARED_KEYS | {"receiver", "sources"},
    Role.WORKER: _SHARED_KEYS | {"accounts", "database", "database_file", "retention", "rules", "worker"},
}
_ALL_KEYS = frozenset().union(*_ROLE_KEYS.values())

#: Keys that name a file: what each becomes, and how the file's text is read.
_FILE_KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "database_file": ("database", str.strip),
    "broker_file": ("broker", str.strip),
    "secrets_file": ("secrets", lambda text: [line.strip() for line in text.splitlines() if line.strip()]),
}


def config_path(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the settings file is, whether or not it exists: `--config`, `MUSTER_CONFIG`, `./muster.toml`."""
    return given or Path(environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def load(given: Path | None = None, role: Role = Role.ALL, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read file, environment and the role's secret files into Settings.

    A file that is named but not there is a mistake; without any the defaults hold. Raises SettingsError with every mistake.
    """
    path = config_path(given, environ)
    named = given is not None or bool(environ.get(CONFIG_VARIABLE))
    text = _read_file(path, named=named)
    file, variables = _parsed(path, text), _read_environment(environ)
    mistakes = [_unknown_key(key) for key in file if key not in _ALL_KEYS]
    mistakes += [_unknown_key(f"{_PREFIX}{key.upper()}") for key in variables if key not in _ALL_KEYS]
    raw = _merged(file, variables)
    allowed = _ALL_KEYS if role is Role.ALL else _ROLE_KEYS[role]
    part = {key: value for key, value in raw.items() if key in allowed}
    part = _resolve_files(part, path.parent, "", mistakes)
    _name_accounts(part)
    mistakes += _bad_source_names(part)
    try:
        settings = Settings.model_validate(part)
        found = [Mistake(f"rules.{number}.{key}", *told) for number, key, *told in faults(settings.rules, settings.accounts)]
    except ValidationError as error:
        found = mistakes_in(error, part)
    mistakes += _with_rules_named(found, part.get("rules"), _rule_lines(text) if raw.get("rules") == file.get("rules") else ())
    if mistakes:
        raise SettingsError(without_consequences(mistakes))
    return settings


def _read_file(path: Path, *, named: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not named:
            return ""
        raise SettingsError([Mistake(str(path), "there is no such file", f"Write one with `muster init --config {path}`")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([_unreadable(path, error)]) from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([_unreadable(path, error)]) from None


def _unreadable(path: Path, error: Exception) -> Mistake:
    return Mistake(str(path), f"it cannot be read: {error}", "Mend the file; it is TOML (https://toml.io)")


def _rule_lines(text: str) -> list[int]:
    """The line of each rule's header."""
    return [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*[\"']?rules[\"']?\s*\]\]", line)]


def _with_rules_named(found: Iterable[Mistake], rules: Any, lines: Sequence[int]) -> Iterator[Mistake]:
    """Mistakes in rules by the rule's name and line, as a person finds it; a list written in one piece has no lines."""
    for mistake in found:
        section, _, rest = mistake.path.partition(".")
        number, _, key = rest.partition(".")
        if section != "rules" or not number.isdigit():
            yield mistake
            continue
        rule = rules[int(number)]
        name = rule.get("name", number) if isinstance(rule, dict) else number
        yield replace(mistake, path=".".join(filter(None, (section, str(name), key))) + _at(int(number), rules, lines))


def _at(number: int, rules: Sequence[Any], lines: Sequence[int]) -> str:
    return f" (line {lines[number]})" if len(lines) == len(rules) else ""


def rule_places(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Where each rule of settings that load stands, as mistakes name it."""
    path = config_path(given, environ)
    text = _read_file(path, named=False)
    rules, lines = _parsed(path, text).get("rules", []), _rule_lines(text)
    return {rule["name"]: f"rules.{rule['name']}{_at(number, rules, lines)}" for number, rule in enumerate(rules)}


class _Environment(EnvSettingsSource):
    """The environment as nested keys, from a given mapping instead of the process' own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {key.lower(): value for key, value in environ.items()}
        super().__init__(Settings, env_prefix=_PREFIX, env_nested_delimiter="__", case_sensitive=False)  # type: ignore[arg-type]

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """What should be JSON and is not passes as it is, to be refused under its path with everything else."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    given = {key: value for key, value in environ.items() if key.upper().startswith(_PREFIX) and key.upper() != CONFIG_VARIABLE}
    keys = {key[len(_PREFIX) :].lower(): value for key, value in given.items()}
    found = dict(_Environment(given)())
    # File keys and unknown keys are no fields of Settings: they pass as they are, to be resolved or refused by name.
    return found | {key: value for key, value in keys.items() if key.partition("__")[0] not in Settings.model_fields}


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another, key by key; a value also takes the place of the file that would give it, and the reverse."""
    both = under.keys() & over.keys()
    nested = {key: _merged(under[key], over[key]) for key in both if isinstance(under[key], dict) and isinstance(over[key], dict)}
    return {key: value for key, value in under.items() if _twin(key) not in over} | over | nested


def _twin(key: str) -> str:
    return _FILE_KEYS[key][0] if key in _FILE_KEYS else f"{key}_file"


def _resolve_files(raw: dict[str, Any], base: Path, prefix: str, mistakes: list[Mistake]) -> dict[str, Any]:
    """Replace every key that names a file by what the file holds; relative names start at the settings file's folder."""
    resolved: dict[str, Any] = {}
    for key, value in raw.items():
        path = f"{prefix}{key}"
        if key in _FILE_KEYS:
            name, read = _FILE_KEYS[key]
            if name in raw:
                mistakes.append(Mistake(path, f"{name} is given too", f"Keep one of {name} and {key}"))
                continue
            try:
                resolved[name] = read((base / str(value)).expanduser().read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                mistakes.append(Mistake(path, f"the file cannot be read: {reason}", "Create it, or let this user read it"))
        elif key in CREDENTIAL_FILES:  # read when it is used, and again when it is refused
            resolved[key] = str((base / str(value)).expanduser())
        elif isinstance(value, dict):
            resolved[key] = _resolve_files(value, base, f"{path}.", mistakes)
        elif isinstance(value, list):
            resolved[key] = [_resolve_files(one, base, f"{path}.", mistakes) if isinstance(one, dict) else one for one in value]
        else:
            resolved[key] = value
    return resolved


def _name_accounts(raw: dict[str, Any]) -> None:
    """A source that names no account is of the account of its own name."""
    for name, source in _sources(raw):
        if isinstance(source, dict):
            source.setdefault("account", name)


def _bad_source_names(raw: dict[str, Any]) -> Iterator[Mistake]:
    for name, _ in _sources(raw):
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= 63):
            yield Mistake(f"sources.{name}", "the name cannot stand in an address", "Use letters, digits, - and _, at most 63")


def _sources(raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    sources = raw.get("sources")
    return iter(sources.items() if isinstance(sources, dict) else ())


def _unknown_key(name: str) -> Mistake:
    return Mistake(name, "unknown key", f"Remove it, or take one of {', '.join(sorted(_ALL_KEYS))}")
