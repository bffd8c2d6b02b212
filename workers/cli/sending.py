"""Sending a webhook as its vendor would: signed, to the vendor's own endpoint, over real HTTP. For trigger and demo."""

from urllib.parse import quote

import httpx2
from uuid_utils.compat import uuid7

from receiver.signatures import sign
from schemas.delivery import now_utc
from schemas.settings import SourceSettings
from schemas.vendors import VENDORS


class Unreachable(Exception):
    """No receiver answers at an address."""


def send(base: str, name: str, source: SourceSettings, event: str, body: bytes) -> tuple[int, object]:
    """POST a body to a source's endpoint under its first scheme and secret; returns the status and the JSON answer.

    The event goes where the source looks for it. Raises Unreachable.
    """
    proof = sign(source.verify[0], body, str(uuid7()), now_utc())
    headers, query, path = dict(proof.headers), dict(proof.query), f"/hooks/{name}"
    if source.event_header:
        headers[source.event_header] = event
    elif source.event_query:
        query[source.event_query] = event
    elif VENDORS[source.vendor].event_place == "address":
        path += f"/{quote(event, safe=':')}"
    content_type = "text/xml" if body.lstrip()[:1] == b"<" else "application/json"
    try:
        with httpx2.Client(trust_env=False, timeout=30) as client:
            answer = client.post(base + path, params=query, headers={"Content-Type": content_type} | headers, content=body)
    except httpx2.TransportError as error:
        raise Unreachable(f"no receiver answers at {base} ({type(error).__name__}): start one, or name it with --url") from None
    return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
