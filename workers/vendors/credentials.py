"""Credentials from files: read when they are first used, and again when the vendor refuses them, so that a rotation needs no restart."""

from pathlib import Path

from workers.vendors.errors import Complaint, Refused


class Credential:
    """A secret in a file; its text is nobody's to log."""

    def __init__(self, setting: str, file: Path) -> None:
        self._setting, self._file = setting, file
        self._text: str | None = None

    def read(self) -> str:
        """The secret; raises Refused, naming the setting, if the file cannot be read or holds none."""
        if self._text is None:
            self._text = self._content()
        return self._text

    def forget(self) -> None:
        """Read the file again next time."""
        self._text = None

    def _content(self) -> str:
        try:
            text = self._file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Refused(401, (Complaint(self._setting, f"the file cannot be read: {reason}"),)) from None
        if not text:
            raise Refused(401, (Complaint(self._setting, "the file is empty"),))
        return text

    def __repr__(self) -> str:
        return f"Credential({self._setting})"
