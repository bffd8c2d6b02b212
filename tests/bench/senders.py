"""The load's senders: eight sources, a body as long as a 4HSE webhook's, and the requests they send, signed beforehand."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.samples import SUBSCRIPTION

EVENT = "ACTION_SUBSCRIPTION::CREATE"
HEADER = "X-Signature"

#: 4HSE's own sample, brought to 330 bytes, the length of a usual delivery.
BODY = json.dumps(SUBSCRIPTION | {"action_name": "Fire Safety"}, separators=(",", ":")).encode().ljust(330)


@dataclass(frozen=True, slots=True)
class Sender:
    """One source and its secret."""

    name: str
    secret: str

    @property
    def signature(self) -> str:
        """HMAC-SHA256 of the body, hexadecimal."""
        return hmac.new(self.secret.encode(), BODY, hashlib.sha256).hexdigest()

    @property
    def request(self) -> bytes:
        """The whole HTTP request."""
        head = (
            f"POST /hooks/{self.name}/{EVENT.replace(':', '%3A')} HTTP/1.1",
            "Host: 127.0.0.1",
            "User-Agent: bench",
            "Content-Type: application/json",
            f"{HEADER}: {self.signature}",
            f"Content-Length: {len(BODY)}",
        )
        return "\r\n".join((*head, "", "")).encode() + BODY

    @property
    def settings(self) -> str:
        """Its section of muster.toml."""
        verify = f'{{ scheme = "hmac", algorithm = "sha256", header = "{HEADER}", secrets = ["{self.secret}"] }}'
        return f'[sources.{self.name}]\nvendor = "4hse"\naccount = "{self.name}"\nverify = {verify}\n'


SENDERS = tuple(Sender(f"s{number}", f"secret-of-sender-{number}") for number in range(8))


def write_requests(senders: Sequence[Sender], folder: Path) -> list[Path]:
    """Write each sender's request into a file, for the load generator to read before it starts."""
    paths = [folder / f"{sender.name}.request" for sender in senders]
    for path, sender in zip(paths, senders, strict=True):
        path.write_bytes(sender.request)
    return paths
