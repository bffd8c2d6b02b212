"""The workers' local port says whether they live, and whether they work."""

import httpx2
import pytest

from workers.local import local


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_is_told_with_its_details(ready: bool, status: int) -> None:
    async def readiness() -> tuple[bool, dict[str, object]]:
        return ready, {"database": "up"}

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=local(readiness)), base_url="http://local") as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()) == (status, {"ready": ready, "database": "up"})


async def test_a_worker_that_is_not_ready_is_alive() -> None:
    async def readiness() -> tuple[bool, dict[str, object]]:
        raise AssertionError("nobody asked")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=local(readiness)), base_url="http://local") as client:
        assert (await client.get("/livez")).json() == {"live": True}
        assert (await client.post("/livez")).status_code == 405
