"""Tokens are fetched once for all who wait, renewed before they expire, and fetched anew when they are refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.workers.vendors.acme import HASTY, PASSWORD, PATIENT, Stage, staged
from workers.simulators.faults import Broken, Fault, Instead, LostBefore, TooMany
from workers.simulators.fourhse.login import PATH
from workers.vendors.credentials import Credential
from workers.vendors.errors import Refused, Throttled, Unavailable, VendorError
from workers.vendors.http import Http
from workers.vendors.tokens import Pauses, Token, Tokens

Given = tuple[Tokens, Stage]
AS_USUAL = Pauses()


@asynccontextmanager
async def logging_in(
    directory: Path, *, early: float = 30, lifetime: float = 300, refresh_lifetime: float = 1800, pauses: Pauses = AS_USUAL
) -> AsyncIterator[Given]:
    """Tokens of muster's at Acme's Keycloak, with the password in a file."""
    async with staged(directory, lifetime=lifetime, refresh_lifetime=refresh_lifetime) as stage:
        password = Credential("password_file", stage.file("password", PASSWORD))
        http = Http(stage.url, HASTY, lambda: datetime.now(UTC))
        grant: Callable[[], dict[str, str]] = lambda: {  # noqa: E731
            "grant_type": "password",
            "client_id": "muster",
            "username": "muster",
            "password": password.read(),
        }
        yield Tokens(http, PATH, grant, early, password.forget, pauses), stage
        await http.close()


async def test_however_many_wait_one_token_is_fetched(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        got = await asyncio.gather(*(tokens.current() for _ in range(50)))

    assert len(set(got)) == 1
    assert stage.keycloak.granted == ["password"]


async def test_a_waiter_that_gives_up_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        waiting = [asyncio.create_task(tokens.current()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        got = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(got[0], asyncio.CancelledError)
    assert len({str(one) for one in got[1:]}) == 1
    assert len(stage.keycloak.granted) <= 2


async def test_it_is_renewed_by_its_refresh_token_before_it_expires_and_once(tmp_path: Path) -> None:
    async with logging_in(tmp_path, lifetime=0.6, early=0.4) as (tokens, stage):
        first = await tokens.current()
        await asyncio.sleep(0.35)
        second = await asyncio.gather(*(tokens.current() for _ in range(10)))

    assert set(second).isdisjoint({first})
    assert stage.keycloak.granted == ["password", "refresh_token"]


async def test_a_token_that_lives_shorter_than_it_is_renewed_early_is_used_for_half_its_life(tmp_path: Path) -> None:
    async with logging_in(tmp_path, lifetime=20, early=30) as (tokens, stage):
        assert await tokens.current() == await tokens.current()

    assert stage.keycloak.granted == ["password"]


async def test_without_a_good_refresh_token_it_logs_in_again(tmp_path: Path) -> None:
    async with logging_in(tmp_path, lifetime=0.2, refresh_lifetime=0.01) as (tokens, stage):
        await tokens.current()
        await asyncio.sleep(0.15)
        await tokens.current()

    assert stage.keycloak.granted == ["password", "password"]


async def test_a_refused_token_is_thrown_away_once_however_many_were_refused_with_it(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        first = await tokens.current()
        await tokens.refused(first)
        second = await tokens.current()
        await tokens.refused(first)

        assert await tokens.current() == second != first
    assert stage.keycloak.granted == ["password", "password"]


async def test_a_wrong_password_is_refused_in_the_vendors_word_and_not_tried_twice(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        stage.file("password", "wr0ng-planted")
        with pytest.raises(Refused, match=r"^401: login: invalid_grant$") as caught:
            await tokens.current()

        assert stage.faults.count(PATH) == 1
    assert "planted" not in repr(caught.value)


async def test_a_wrong_password_is_not_sent_again_by_later_calls_until_its_file_changes(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        stage.file("password", "wr0ng-planted")
        with pytest.raises(Refused):
            await tokens.current()
        for _ in range(5):
            with pytest.raises(Refused, match=r"^401: login: invalid_grant; the same is not sent again for 60 s$") as caught:
                await tokens.current()
        assert stage.faults.count(PATH) == 1
        stage.file("password", PASSWORD)

        assert await tokens.current()
    assert stage.faults.count(PATH) == 2
    assert "planted" not in repr(caught.value)


async def test_a_wrong_password_is_tried_again_after_pauses_that_grow_to_a_bound(tmp_path: Path) -> None:
    async with logging_in(tmp_path, pauses=Pauses(first=0.2, longest=0.5)) as (tokens, stage):
        stage.file("password", "wr0ng")
        loop, sent = asyncio.get_running_loop(), list[float]()
        while len(sent) < 4:
            with pytest.raises(Refused):
                await tokens.current()
            sent += [loop.time()] * (stage.faults.count(PATH) - len(sent))
            await asyncio.sleep(0.01)
        stage.keycloak.users["muster"] = "wr0ng"
        await asyncio.sleep(0.5)

        assert await tokens.current(), "and once it is let in, all is forgotten"
    assert [int((later - earlier) / pause) for (earlier, later), pause in zip(pairwise(sent), (0.19, 0.39, 0.49), strict=True)] == [1, 1, 1]


async def test_an_answer_that_says_nothing_of_the_password_begins_no_pause(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        stage.faults.on(Instead(status=404))
        with pytest.raises(Refused):
            await tokens.current()

        assert await tokens.current()


async def test_a_password_that_was_changed_meanwhile_is_read_again(tmp_path: Path) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        first = await tokens.current()
        stage.keycloak.users["muster"] = "rotated"
        stage.file("password", "rotated")
        await tokens.refused(first)

        assert await tokens.current()
        assert stage.faults.count(PATH) == 2, "without trying the old one"


async def test_a_password_that_was_changed_while_it_was_refused_is_tried(tmp_path: Path) -> None:
    async with logging_in(tmp_path, lifetime=0.1, refresh_lifetime=0.01) as (tokens, stage):
        await tokens.current()
        stage.keycloak.users["muster"] = "rotated"
        stage.file("password", "rotated")
        await asyncio.sleep(0.1)

        assert await tokens.current()
    assert stage.keycloak.granted == ["password", "password"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Instead(status=200, body=b"<html>Welcome to the hotel's network</html>"), Unavailable),
        (Instead(status=200, body=b'{"token_type": "Bearer"}'), Unavailable),
        (Instead(status=200, body=b'{"access_token": ""}'), Unavailable),
        (Instead(status=200, body=b'["access_token"]'), Unavailable),
        (Instead(status=404, body=b"<html>planted</html>"), Refused),
        (Instead(status=302, headers={"location": "https://elsewhere.example/?planted"}), Refused),
        (TooMany(retry_after="3600"), Throttled),
        (Broken(times=None), Unavailable),
        (LostBefore(times=None), Unavailable),
    ],
    ids=["a page", "no token", "an empty token", "no object", "not found", "redirect", "throttled", "broken", "silent"],
)
async def test_an_answer_without_a_token_is_an_error_of_ours(tmp_path: Path, fault: Fault, error: type[VendorError]) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        stage.faults.on(fault)
        with pytest.raises(error) as caught:
            await tokens.current()
        stage.faults.off()

        assert await tokens.current(), "and the next one works"
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("life", ['"expires_in": null', '"expires_in": "soon"', '"expires_in": -5', '"scope": ""'])
async def test_a_token_of_unsaid_life_is_used_for_a_while(tmp_path: Path, life: str) -> None:
    async with logging_in(tmp_path) as (tokens, stage):
        stage.faults.on(Instead(status=200, body=f'{{"access_token": "one", {life}}}'.encode()))

        assert [await tokens.current(), await tokens.current()] == ["one", "one"]


def test_printing_a_token_tells_nothing_of_it() -> None:
    assert "planted" not in repr(Token("planted-1", 1.0, "planted-2"))


async def test_a_client_with_a_password_logs_in_and_with_a_secret_too(tmp_path: Path) -> None:
    async with staged(tmp_path, client_secret="s3cret") as stage:
        secret = stage.file("secret", "s3cret")
        async with stage.client(PATIENT, **stage.login(client_secret_file=secret)) as client:
            await client.login()

    assert stage.keycloak.granted == ["password"]
