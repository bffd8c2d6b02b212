"""What happens to a delivery can be followed through the log by its id, call by call, and nobody is named in it."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from schemas.accounts import AnewspringAccount, FourhseAccount, KareAccount
from schemas.delivery import encode, seal
from schemas.settings import LogSettings
from schemas.states import Reason, TargetKind
from tests.workers.followups.enrolling import enrolling
from tests.workers.made import NOON, created, delivery, replayed, until
from tests.workers.refreshing import SOON, refreshing
from tests.workers.test_lane import Given, working
from tests.workers.vendors.acme import SUBSCRIPTION
from workers.cli.logging import configure
from workers.cli.worker_side import readmit
from workers.database import Database
from workers.followups.tables import Enrollment
from workers.followups.targets import TARGETS
from workers.handlers import handle
from workers.lane import Lane
from workers.log import LoggedDelivery, hold
from workers.pipeline import Pipeline
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccounts
from workers.vendors.errors import VendorError


@contextmanager
def lines() -> Iterator[list[Any]]:
    """What is logged, with what was bound to it."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        yield logged


async def test_a_batch_is_one_line_with_its_deliveries_what_became_of_them_and_how_long_it_took(database: Database) -> None:
    given, fresh, suspect, dead = Given(), [created("s1"), delivery(b"no JSON")], created("s2"), created("s3")
    with lines() as logged:
        given.hand(*fresh, suspects=[suspect], dead=[(dead, Reason.DEAD_LETTERED, None)])
        async with working(Lane(given, Pipeline(database), database)):
            await until(lambda: given.settled, "settling")

    (batch,) = (line for line in logged if line["event"] == "batch.applied")
    assert batch["deliveries"] == [str(one.id) for one in (*fresh, suspect, dead)]
    assert (batch["applied"], batch["dead"], batch["log_level"]) == (2, 2, "info")
    assert 0 <= batch["seconds"] < 60
    assert {line["delivery"] for line in logged if line["event"] == "delivery.dead"} == {str(fresh[1].id), str(dead.id)}


async def test_a_replay_is_followed_by_its_own_id(database: Database) -> None:
    given, one = Given(), replayed(created("s1"))
    with lines() as logged:
        given.hand(one, replays=True)
        async with working(Lane(given, Pipeline(database), database)):
            await until(lambda: given.settled, "settling")

    assert [line["deliveries"] for line in logged if line["event"] == "batch.applied"] == [[str(one.id)]]


async def test_what_a_newer_version_left_and_this_one_applies_is_a_batch_too(database: Database) -> None:
    one, two = created("s1"), created("s2")
    await hold(database, 1, "deliveries", seal(map(encode, (one, two))))
    with lines() as logged:
        await readmit(Pipeline(database))

    (batch,) = (line for line in logged if line["event"] == "batch.applied")
    assert (batch["applied"], batch["deliveries"]) == (2, [str(one.id), str(two.id)])


async def test_a_call_is_one_line_that_says_whose_deliveries_it_is_made_for(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path) as scene:
        arrived = created("s1", received_at=scene.time)
        await Pipeline(database, mirror=scene.refresher._mirror).together([arrived])
        scene.time += SOON
        with lines() as logged:
            await scene.look()

    calls = [line for line in logged if line["event"] == "vendor.called"]
    assert len(calls) == scene.calls() > 0
    assert {(line["account"], line["log_level"], line["refresh"]) for line in calls} == {("hse", "info", "action-subscription")}
    assert all(line["deliveries"] == [str(arrived.id)] for line in calls)
    assert all(line["call"].startswith(("GET /v2/", "POST /v2/")) and 0 <= line["seconds"] < 60 for line in calls)
    assert {line["outcome"] for line in calls} <= {"ok", "not_found"}


async def test_a_delivery_is_followed_through_every_fetch_that_leads_to_the_next(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path) as scene:
        await scene.created(SUBSCRIPTION)
        await scene.catch_up()
        body = {"certificate_id": scene.stage.tenancy.certify(SUBSCRIPTION, "2026-01-15")}
        scene.stage.tenancy.delete("action-subscription", SUBSCRIPTION)
        told = [delivery(body, f"CERTIFICATE::{kind}", received_at=scene.time) for kind in ("CREATE", "UPDATE")]
        pipeline = Pipeline(database, partial(handle, accounts={"hse": scene.account.settings}), scene.mirror)
        for one in told:
            await pipeline.together([one.model_copy(update={"received_at": scene.time})])
            scene.time += timedelta(seconds=1)
        with lines() as logged:
            await scene.catch_up()

    calls = [line for line in logged if line["event"] == "vendor.called"]
    assert [*dict.fromkeys(line["refresh"] for line in calls)] == ["certificate", "subscriber", "action-subscription"]
    assert {tuple(line["deliveries"]) for line in calls} == {tuple(str(one.id) for one in told)}


@pytest.mark.parametrize("kind", TARGETS)
async def test_a_call_of_a_follow_up_says_which_deliveries_it_is_made_for(database: Database, tmp_path: Path, kind: TargetKind) -> None:
    one = created()
    async with enrolling(database, tmp_path) as scene:
        seat = await scene.wants(kind)
        await Enrollment.filter(id=seat).update(deliveries=str(one.id))
        with lines() as logged:
            await scene.enroller.round(scene.account((await scene.row(seat)).account))

    calls = [line for line in logged if line["event"] == "vendor.called"]
    assert calls
    assert all((line["deliveries"], line["enrollment"]) == ([str(one.id)], str(seat)) for line in calls)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """A vendor that knows nobody."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"ada.lovelace@acme.example is not known"})


async def test_no_line_of_a_call_names_whom_it_is_about(tmp_path: Path) -> None:
    key, learner = tmp_path / "key", "ada.lovelace@acme.example"
    key.write_text("k3y")
    async with served(not_found) as url:
        common = {"base_url": url, "insecure": True}
        hse = FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": key} | common)
        lms = AnewspringAccount.model_validate({"vendor": "anewspring", "api_key_file": key} | common)
        kare = KareAccount.model_validate({"vendor": "kare", "token_file": key, "session_token_file": key} | common)
        accounts = OpenAccounts({"hse": hse, "lms": lms, "kare": kare}, lambda: NOON)
        asked: list[Any] = [accounts[name].client for name in ("hse", "lms", "kare")]
        with lines() as logged:
            for call in (
                asked[0].resources["person"].view(learner),
                asked[0].resources["person"].view({"code": learner, "project_id": "p"}),
                asked[1].results(learner),
                asked[1].subscribe(learner, "FIRE-BASIC"),
                asked[2].view(4711),
            ):
                with pytest.raises(VendorError):
                    await call
        await accounts.close()

    assert [(line["account"], line["call"], line["status"]) for line in logged] == [
        ("hse", "GET /v2/person/view", 404),
        ("hse", "GET /v2/person/view", 404),
        ("lms", "GET /api/getResults", 404),
        ("lms", "POST /api/subscribe", 404),
        ("kare", "GET /interventions/v2/rs/{id}", 404),
    ]
    assert "ada" not in json.dumps(logged)
    assert "k3y" not in json.dumps(logged)


@contextmanager
def configured(**log: str) -> Iterator[None]:
    """The process' own set-up, taken back afterwards."""
    before, names = (
        structlog.get_config(),
        (None, "schemas", "receiver", "workers", "aio_pika", "aiormq", "opentelemetry", "urllib3", "uvicorn"),
    )
    handlers, levels = logging.getLogger().handlers[:], {name: logging.getLogger(name).level for name in names}
    try:
        configure(LogSettings.model_validate(log))
        yield
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("format_", ["json", "console"])
def test_what_is_bound_is_in_every_line_in_either_format(format_: str, capsys: pytest.CaptureFixture[str]) -> None:
    with configured(format=format_), structlog.contextvars.bound_contextvars(deliveries=["0199"]):
        structlog.get_logger("workers.test").info("vendor.called", account="hse")
    said = capsys.readouterr().err

    assert "vendor.called" in said
    assert "0199" in said
    assert "hse" in said
    if format_ == "json":
        line = json.loads(said)
        assert (line["event"], line["deliveries"], line["level"]) == ("vendor.called", ["0199"], "info")


async def test_at_the_level_of_debug_no_library_tells_what_it_is_given(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with configured(level="debug", format="json"):
        structlog.get_logger("workers.test").debug("ours")
        await Pipeline(database).together([created("s1", source="ada.lovelace@acme.example")])
        await LoggedDelivery.filter(source="ada.lovelace@acme.example").count()
        for name in ("aiosqlite", "asyncpg", "tortoise.db_client", "httpx2", "httpcore2.http11", "a_new_one"):
            logging.getLogger(name).info("ada.lovelace@acme.example")
        logging.getLogger("a_new_one").warning("theirs")
    said = capsys.readouterr().err

    assert "ada" not in said
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["ours", "theirs"]
