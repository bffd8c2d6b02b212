"""The workers' local port says whether they live, whether they work, and how much."""

import httpx2
import pytest

from workers.local import local


async def exposed(accept: str) -> tuple[bytes, str]:
    return f"# asked for {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_is_told_with_its_details(ready: bool, status: int) -> None:
    async def readiness() -> tuple[bool, dict[str, object]]:
        return ready, {"database": "up"}

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=local(readiness, exposed)), base_url="http://local") as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()) == (status, {"ready": ready, "database": "up"})


async def test_a_worker_that_is_not_ready_is_alive() -> None:
    async def readiness() -> tuple[bool, dict[str, object]]:
        raise AssertionError("nobody asked")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=local(readiness, exposed)), base_url="http://local") as client:
        assert (await client.get("/livez")).json() == {"live": True}
        assert (await client.post("/livez")).status_code == 405


async def test_metrics_are_told_in_the_format_that_is_asked_for() -> None:
    async def readiness() -> tuple[bool, dict[str, object]]:
        raise AssertionError("nobody asked")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=local(readiness, exposed)), base_url="http://local") as client:
        answer = await client.get("/metrics", headers={"accept": "text/x"})

    assert (answer.text, answer.headers["content-type"]) == ("# asked for text/x\n", "text/plain; version=0.0.4; charset=utf-8")
