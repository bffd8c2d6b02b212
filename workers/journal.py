"""Events as JSON lines in a file, for where there is no broker: appended, on disk before they count as told, and rotated."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

NAME = "events.jsonl"
#: From this size on the file becomes the old one, of which there is one.
LIMIT = 64 * 1024 * 1024


class Journal:
    """The writing end; one process has it."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        #: Whoever gave up waiting for a slow disk leaves a thread that still writes.
        self._writing = threading.Lock()

    def write(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Return once the events are on disk; raises OSError."""
        lines = b"".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for one in events)
        with self._writing:
            self._append(lines)

    def _append(self, lines: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size >= self._limit:
            self._path.replace(_aside(self._path))
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            size = file.tell()
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a process died while writing; what it did not finish is told again
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if not size:
            _sync_folder(self._path.parent)


def blank(path: Path, about: Callable[[str, Mapping[str, Any]], bool]) -> int:
    """Overwrite the events that are `about` something, given as text and read, in the file and in the one put aside; gives how many.

    With as many spaces, in place: whoever writes or reads there meanwhile goes on, for readers skip what is no JSON.
    """
    done = 0
    with ExitStack() as stack:  # open before any is read: a rotation only renames them
        files = [stack.enter_context(one.open("r+b")) for one in (path, _aside(path)) if one.exists()]
        for file in files:
            at = 0
            for line in file:
                if line.endswith(b"\n") and _is(line.decode("utf-8", "replace"), about):
                    os.pwrite(file.fileno(), b" " * (len(line) - 1), at)
                    done += 1
                at += len(line)
            os.fsync(file.fileno())
    return done


def _is(line: str, about: Callable[[str, Mapping[str, Any]], bool]) -> bool:
    try:
        return about(line, json.loads(line))
    except ValueError:
        return False  # blank, or cut short


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


class Follower:
    """The reading end, from the end of what is there on, over rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def read(self) -> Iterator[dict[str, Any]]:
        """The events that have come since the last time."""
        yield from self._new()
        if self._rotated():
            yield from self._new()  # what came between that look and the rotation
            self.close()
            self._file, self._rest = self._path.open("rb"), b""
            yield from self._new()

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()

    def _new(self) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + (self._file.read() if self._file else b"")).split(b"\n")
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue  # a line that its writer did not live to finish

    def _rotated(self) -> bool:
        if not self._path.exists():
            return False
        return self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
