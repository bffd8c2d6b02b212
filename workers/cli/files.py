"""What a host keeps of somebody in files beside the database: requests that were rejected, and events that were told."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from receiver.rejects import Rejected
    from workers.operations.whose import Person


def erase_files(data_dir: Path, person: "Person", told_until: datetime) -> Mapping[str, int]:
    """Take somebody out of the files in a data_dir, whoever may be writing there; gives how many requests and lines it were."""
    from receiver.rejects import FILE, forget, kept
    from workers.journal import NAME, blank

    rejected = [one.id for one in kept(data_dir, datetime.min.replace(tzinfo=UTC)) if person.named_in(_text(one))]
    if rejected:
        forget(data_dir, rejected)
    subjects = {one for _, one in person.events | person.results}

    def about(line: str, event: Mapping[str, Any]) -> bool:
        return person.named_in(line) or (event.get("subject") in subjects and datetime.fromisoformat(event["time"]) <= told_until)

    lines = blank(data_dir / NAME, about)
    return {name: count for name, count in ((FILE, len(rejected)), (NAME, lines)) if count}


def _text(one: "Rejected") -> str:
    said = (*one.request.headers.values(), *one.request.query.values(), one.request.body.decode("utf-8", "replace"))
    return "\n".join(said)
