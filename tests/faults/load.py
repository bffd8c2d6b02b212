"""Load: signed webhooks over keep-alive connections, many at a time, and what became of each."""

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from standardwebhooks import Webhook

from tests.faults.ledger import Ledger, Sent
from tests.services.muster import SECRET

CREATE, DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"

_SIGNING_SECRET = "whsec_" + base64.b64encode(SECRET.encode()).decode()
#: A second sender for the same account, which signs each request.
FORWARDER = f"""
[sources.forwarder]
vendor = "4hse"
account = "hse"
verify = {{ scheme = "standard-webhooks", secrets = ["{_SIGNING_SECRET}"] }}
"""

#: Few enough that most are told of several times, so that the order of the evidence matters.
_SUBSCRIPTIONS = 3_000
_DELETED_SHARE = 0.1
#: A request without an answer for so long counts as unanswered.
_PATIENCE = 30.0


class Load:
    """Senders that never tire: each connection posts, waits for the answer, pauses for about `pause` seconds, posts again."""

    def __init__(self, port: int, ledger: Ledger, rng: random.Random, *, connections: int = 24, pause: float) -> None:
        self.connections = connections
        self._port, self._ledger, self._rng, self._pause = port, ledger, rng, pause
        self._signer = Webhook(_SIGNING_SECRET)
        self._stopping = False
        self._senders: list[asyncio.Task[None]] = []
        #: Markers of the requests that were sent and are not answered yet.
        self.in_flight: set[str] = set()
        #: Markers of those whose connection ended without an answer: they may or may not have been kept.
        self.unanswered: set[str] = set()
        #: Statuses other than 200, in the order of their arrival.
        self.refused: list[int] = []
        #: When each acknowledged request was sent, and how many seconds it took.
        self.answers: list[tuple[float, float]] = []

    async def __aenter__(self) -> Self:
        self._senders = [asyncio.create_task(self._send()) for _ in range(self.connections)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping = True
        await asyncio.gather(*self._senders)

    async def flows(self, answers: int = 50, within: float = 30.0) -> None:
        """Wait until so many more requests were acknowledged; raises TimeoutError."""
        wanted = len(self.answers) + answers
        await reached(lambda: len(self.answers) >= wanted, within)

    async def cut_off(self, pending: set[str]) -> set[str]:
        """Which of the requests that were in flight before a kill never get an answer."""
        await reached(lambda: not pending & self.in_flight, _PATIENCE)
        return pending & self.unanswered

    def latencies(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Seconds that requests sent in a window took."""
        return [took for sent_at, took in self.answers if since <= sent_at < until]

    async def _send(self) -> None:
        while not self._stopping:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while not (self._stopping or reader.at_eof()):
                        await self._post(reader, writer)
                        await asyncio.sleep(self._rng.expovariate(1 / self._pause))
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self._request()
        sent = self._ledger.sends(*request)
        address, headers = self._proof(sent, request[2])
        writer.write(f"POST {address} HTTP/1.1\r\nhost: muster\r\ncontent-length: {len(request[2])}\r\n{headers}\r\n".encode() + request[2])
        began = time.monotonic()
        self.in_flight.add(sent.marker)
        try:
            async with asyncio.timeout(_PATIENCE):
                status, answer = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.unanswered.add(sent.marker)
            raise
        finally:
            self.in_flight.discard(sent.marker)
        if status != 200:
            self.refused.append(status)
            return
        self._ledger.acknowledges(UUID(json.loads(answer)["id"]), sent)
        self.answers.append((began, time.monotonic() - began))

    def _request(self) -> tuple[str, str, bytes]:
        """A marker of its own, an event, a body that holds the marker."""
        marker = f"{self._rng.getrandbits(64):016x}"
        event = DELETE if self._rng.random() < _DELETED_SHARE else CREATE
        body = {
            "action_subscription_id": f"subscription-{self._rng.randrange(_SUBSCRIPTIONS)}",
            "action_id": f"action-{self._rng.randrange(100)}",
            "subscriber_id": f"person-{self._rng.randrange(1000)}",
            "subscriber_type": "PERSON",
            "subtenant_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            "tenant_id": "b5a7d602-3fc9-4e2a-9d1a-6e5b4c8f7a01",
            "action_type": "TRAINING",
            "action_code": marker,
        }
        return marker, event, json.dumps(body).encode()

    def _proof(self, sent: Sent, body: bytes) -> tuple[str, str]:
        """Address and headers: half of the senders know 4HSE's token, half sign."""
        if int(sent.marker, 16) % 2:
            return f"/hooks/hse/{sent.event}?token={SECRET}", ""
        now = datetime.now(UTC)
        signature = self._signer.sign(sent.marker, now, body.decode())
        stamps = f"webhook-id: {sent.marker}\r\nwebhook-timestamp: {int(now.timestamp())}\r\nwebhook-signature: {signature}\r\n"
        return f"/hooks/forwarder/{sent.event}", stamps


async def reached(condition: Callable[[], bool], within: float) -> None:
    """Wait until a condition holds; raises TimeoutError."""
    async with asyncio.timeout(within):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
