"""The vendor of a measurement: an index whose pages were rendered before anybody asks. `python -m tests.bench.index PORT ROWS`."""

import json
import sys
from typing import Any

import jiter
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.bench import schedule

PAGE = 100
_JSON = (b"content-type", b"application/json")
_ABSENT = b'{"name":"Not Found","message":"Object not found.","code":0,"status":404}'


class Index:
    """Pages of action subscriptions by number; of one that is asked for by its id, it knows nothing."""

    def __init__(self, rows: int) -> None:
        ids = schedule.ids(rows)
        self.pages = [
            json.dumps([schedule.row(number, ids[number]) for number in range(start, min(start + PAGE, rows))]).encode()
            for start in range(0, rows, PAGE)
        ]
        self._told = [(b"x-pagination-page-count", str(len(self.pages)).encode()), (b"x-pagination-total-count", str(rows).encode())]
        self._one = json.dumps([schedule.row(0, ids[0])]).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        assert scope["type"] == "http"
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        status, headers, answer = self._answer(scope["path"], jiter.from_json(body) if body else {})
        await send({"type": "http.response.start", "status": status, "headers": [_JSON, *headers]})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, path: str, query: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if not path.endswith("/index"):
            return 404, [], _ABSENT
        asked = query.get("filter") or {}
        if "action_subscription_id" in asked:
            return 200, [(b"x-pagination-page-count", b"0"), (b"x-pagination-total-count", b"0")], b"[]"
        number = min(max(int(query["page"]), 1), len(self.pages))
        current = (b"x-pagination-current-page", str(number).encode())
        return 200, [current, *self._told], self._one if query.get("per-page") == 1 else self.pages[number - 1]


if __name__ == "__main__":
    index = Index(int(sys.argv[2]))
    uvicorn.run(index, port=int(sys.argv[1]), http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
