"""A directory with settings that hold a rule, and a database, for commands."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services import commands
from workers.database import close_database, open_database

_SETTINGS = """\
database = "{database}"
[accounts.hse]
vendor = "4hse"
base_url = "http://127.0.0.1:9"
insecure = true
access_token_file = "key"
limits = {{ attempts = 1, timeout = 1 }}
[accounts.lms]
vendor = "anewspring"
base_url = "http://127.0.0.1:9"
insecure = true
api_key_file = "key"
limits = {{ attempts = 1, timeout = 1 }}
"""
RULE = """\
[[rules]]
name = "fire"
when = { action_code = "FST-*" }
enroll = { account = "lms", course = "FIRE" }
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory with settings and a database."""

    home: Path
    database_url: str

    def settings(self, text: str) -> None:
        """Write the settings' rules."""
        (self.home / "muster.toml").write_text(_SETTINGS.format(database=self.database_url) + text)

    async def muster(self, *arguments: str, answer: str = "") -> Done:
        """Run a command to its end; `answer` is typed at it."""
        done = await asyncio.to_thread(commands.run, *arguments, cwd=self.home, answer=answer)
        return Done(done.returncode, done.stdout, done.stderr)

    async def stored(self, *make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Put rows into the database."""
        await open_database(self.database_url)
        try:
            for one in make:
                await one()
        finally:
            await close_database()


async def ruled(home: Path, database_url: str) -> Desk:
    """The settings written and the database made."""
    (home / "key").write_text("key")
    made = Desk(home, database_url)
    made.settings(RULE)
    assert (await made.muster("init")).code == 0
    return made
