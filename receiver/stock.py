"""What stands in a data_dir's spool, seen without opening it: for `muster spool status`, beside a receiver that runs or none."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from receiver.spool import FILE, REPLAYS

#: What is kept in which file.
_LANES = (("live", FILE), ("replays", REPLAYS))
_QUERY = "SELECT source, count(*), sum(length(delivery)), min(kept_at) FROM spool GROUP BY source ORDER BY source"


@dataclass(frozen=True, slots=True)
class Stock:
    """What waits in one lane of one source."""

    lane: str
    source: str
    deliveries: int
    bytes: int
    oldest: datetime


def stock(data_dir: Path) -> list[Stock]:
    """What waits, lane by lane and source by source; nothing where there is no spool."""
    return [one for lane, file in _LANES if (data_dir / file).exists() for one in _of(lane, data_dir / file)]


def _of(lane: str, path: Path) -> list[Stock]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spool'").fetchone()
        rows = connection.execute(_QUERY).fetchall() if made else []
    return [Stock(lane, source, count, size, datetime.fromtimestamp(since, UTC)) for source, count, size, since in rows]
