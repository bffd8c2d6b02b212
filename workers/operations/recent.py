"""A receiver's last requests, asked at its local port."""

from typing import Any

import httpx2


class Unreachable(Exception):
    """No receiver answers at the local port."""


def recent(local_url: str, after: int) -> list[dict[str, Any]]:
    """The outcomes after a number, oldest first; raises Unreachable."""
    try:
        answer = httpx2.get(f"{local_url}/recent", params={"after": after}, trust_env=False, timeout=5)
        return list(answer.raise_for_status().json())
    except httpx2.HTTPError as error:
        raise Unreachable(
            f"no receiver answers at {local_url} ({type(error).__name__}): start one here, or correct local.receiver_port"
        ) from None
