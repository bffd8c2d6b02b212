"""muster's own receiver with a keeper that keeps nothing: what verification and HTTP cost, and the ceiling for the rest."""

from receiver import app
from receiver.endpoints import Hook
from receiver.recent import Recent
from receiver.sources import sources
from receiver.spool import Spooled
from schemas.reader import Role, load
from tests.bench.alternatives.serving import serve
from workers.cli.process import collect_rarely


class Dropped:
    """Keeps nothing, at once."""

    async def keep(self, spooled: Spooled) -> None:
        """Lose it."""


async def _ready() -> tuple[bool, dict[str, object]]:
    return True, {}


if __name__ == "__main__":
    collect_rarely()  # as `muster receive` does
    settings = load(role=Role.RECEIVER)
    serve(app.public(Hook(settings.receiver, sources(settings), Dropped(), Recent()), _ready))
