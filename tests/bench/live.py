"""`python -m tests.bench.live URL RATE FILE`: a vendor that sends so many webhooks a second until it is told to stop.

Each request has its moment, and counts from there, also if it could not be sent then: who is slow cannot make the load lighter. FILE
gets a line for each that was accepted: the delivery's id, its moment, and the seconds to its answer.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import uvloop
from uuid_utils.compat import uuid4

from schemas.samples import SUBSCRIPTION

_CONNECTIONS = 32


async def _send(url: str, rate: float, told: TextIO) -> None:
    stop: asyncio.Event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    due: asyncio.Queue[float] = asyncio.Queue()
    senders = [asyncio.create_task(_sender(url, due, told)) for _ in range(_CONNECTIONS)]
    moment = time.time()
    while not stop.is_set():
        moment += 1 / rate
        await asyncio.sleep(moment - time.time())
        due.put_nowait(moment)
    await due.join()
    for one in senders:
        one.cancel()
    await asyncio.gather(*senders, return_exceptions=True)


async def _sender(url: str, due: asyncio.Queue[float], told: TextIO) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while True:
        moment = await due.get()
        body = json.dumps(SUBSCRIPTION | {"action_subscription_id": str(uuid4())}, separators=(",", ":")).ljust(330)
        writer.write(f"POST {parts.path}?{parts.query} HTTP/1.1\r\nhost: muster\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the receiver answered {head.decode()}{answer.decode()}")
        told.write(f"{json.loads(answer)['id']} {moment} {time.time() - moment}\n")
        due.task_done()


if __name__ == "__main__":
    with Path(sys.argv[3]).open("w", encoding="utf-8") as file, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_send(sys.argv[1], float(sys.argv[2]), file))
