"""`muster ispring` as a real command: a simulated iSpring on one side, muster's receiver and worker on the other, over real sockets."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.services.muster import Muster
from tests.workers.made import until
from tests.workers.vendors.learn import EVENT, HOOK_SECRET, ID, Learn, learning

TOKEN = "t0ken-planted"
NAME = f"muster-{EVENT}"
_TABLES = """
[sources.lms]
vendor = "ispring"
verify = [
    {{ secrets = ["{secret}"] }},
    {{ scheme = "token", query = "token", secrets = ["{token}"], events = ["CONFIRMATION"] }},
]
[accounts.lms]
vendor = "ispring"
insecure = true
base_url = "{url}"
account_url = "https://acme.ispringlearn.com"
client_id = "{id}"
client_secret_file = "{secret_file}"
[accounts.hse]
vendor = "4hse"
access_token_file = "{secret_file}"
"""


@dataclass(frozen=True, slots=True)
class Desk:
    """muster set up for a simulated iSpring, and the two files for `connect`."""

    muster: Muster
    learn: Learn

    async def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `muster ispring …` while the vendor goes on."""
        return await asyncio.to_thread(self.muster.run, "ispring", *arguments, check=False)

    async def connect(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        files = ("--secret-file", str(self.muster.home / "hook-secret"), "--url-file", str(self.muster.home / "hook-url"))
        return await self.run("connect", "lms", *files, "--event", EVENT, *arguments)

    async def deliveries(self) -> list[dict[str, str]]:
        done = await asyncio.to_thread(self.muster.run, "deliveries", "list", "--json")
        found: list[dict[str, str]] = json.loads(done.stdout)
        return found


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with learning(tmp_path) as learn:
        tables = _TABLES.format(secret=HOOK_SECRET, token=TOKEN, url=learn.url, id=ID, secret_file=tmp_path / "client-secret")
        muster = Muster(tmp_path / "muster", sources=(), tables=tables)
        (muster.home / "hook-secret").write_text(f"{HOOK_SECRET}\n")
        (muster.home / "hook-url").write_text(f"{muster.url}/hooks/lms/{{event}}?token={TOKEN}\n")
        await asyncio.to_thread(muster.run, "init")
        try:
            yield Desk(muster, learn)
        finally:
            muster.close()


async def test_connect_ends_confirmed_and_subscribed_and_the_events_then_arrive(desk: Desk) -> None:
    await asyncio.to_thread(desk.muster.start, "serve")
    done = await desk.connect("--json", "--timeout", "30")
    there = desk.learn.vendor.subscribers[NAME]

    assert done.returncode == 0, done.stderr + desk.muster.log("serve")
    assert json.loads(done.stdout) == [{"name": NAME, "event": EVENT, "state": "subscribed"}]
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()][-1] == "subscribed"
    assert (there.confirmed, there.type, there.url) == (True, EVENT, f"{desk.muster.url}/hooks/lms/{EVENT}?token={TOKEN}")

    desk.learn.vendor.complete("learner", "course")
    await desk.learn.vendor.sender.settled()

    assert [one.status for one in desk.learn.vendor.sender.tries] == [200, 200]
    await until(lambda: _arrived(desk), "the delivery's arrival")
    listed = await desk.run("list", "lms", "--json")
    assert [(one["name"], one["event"], one["state"]) for one in json.loads(listed.stdout)] == [(NAME, EVENT, "confirmed")]
    kept = desk.muster.log("serve") + done.stdout + done.stderr + (await desk.run("list", "lms")).stdout
    assert not [secret for secret in (HOOK_SECRET, TOKEN) if secret in kept]


async def _arrived(desk: Desk) -> bool:
    return [one["event"] for one in await desk.deliveries()] == [EVENT, "CONFIRMATION"]


async def test_without_a_worker_it_ends_with_1_and_says_what_to_look_at_and_repeats_nothing(desk: Desk) -> None:
    done = await desk.connect("--timeout", "1")
    listed = await desk.run("list", "lms")

    assert done.returncode == 1
    assert "muster deliveries list --event CONFIRMATION" in done.stderr
    assert (listed.returncode, NAME in listed.stdout, "code_requested" in listed.stdout) == (0, True, True)
    assert not [secret for secret in (HOOK_SECRET, TOKEN) if secret in done.stdout + done.stderr]


async def test_the_address_to_write_down_carries_the_token_that_lets_the_code_in(desk: Desk) -> None:
    done = await asyncio.to_thread(desk.muster.run, "sources", "urls", "--show-secrets")

    assert f"/hooks/lms?token={TOKEN}" in done.stdout
    assert f"secret: {HOOK_SECRET}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "files", "says"),
    [
        pytest.param(["nobody"], {}, "no account 'nobody' of iSpring's", id="an account that is not configured"),
        pytest.param(["hse"], {}, "there are: lms", id="another vendor's"),
        pytest.param(["lms", "--event", "COURSE_FAILED"], {}, "COURSE_ITEM_COMPLETED_SUCCESSFULLY", id="a type that does not exist"),
        pytest.param(["lms", "--name", "n" * 250], {}, "up to 255", id="a long name"),
        pytest.param(["lms"], {"secret": ""}, "--secret-file: iSpring takes 1 to 255", id="an empty secret"),
        pytest.param(["lms"], {"secret": "s3cret\ns3cret"}, "--secret-file: the file must hold one line", id="two secrets"),
        pytest.param(["lms"], {"url": "https://" + "s3cret" * 50}, "1 to 255", id="a long address"),
        pytest.param(["lms"], {"url": "s3cret"}, "--url-file: the file must hold one address", id="no address"),
        pytest.param(["lms"], {"url": "https://s3cret["}, "--url-file: the file must hold one address", id="half an address"),
    ],
)
async def test_misuse_is_told_and_exits_2_without_repeating_what_the_files_hold(
    desk: Desk, arguments: list[str], files: dict[str, str], says: str
) -> None:
    texts = {"secret": "s3cret", "url": "https://hooks.example.com/hooks/lms?token=s3cret"} | files
    for name, text in texts.items():
        (desk.muster.home / name).write_text(text)
    given = [*("--secret-file", str(desk.muster.home / "secret")), *("--url-file", str(desk.muster.home / "url"))]
    done = await desk.run("connect", *arguments, *given)

    assert done.returncode == 2
    assert says in done.stderr
    assert "s3cret" not in done.stderr.replace("--secret", "").replace("'--event'", "")
    assert desk.learn.vendor.subscribers == {}


async def test_an_address_must_be_https_where_the_account_is_not_a_test_machines(desk: Desk) -> None:
    config = desk.muster.config.read_text().replace("insecure = true", "insecure = false").replace(desk.learn.url, "https://127.0.0.1:9")
    desk.muster.config.write_text(config)
    done = await desk.connect()

    assert done.returncode == 2
    assert "https" in done.stderr


async def test_the_default_is_the_types_that_muster_uses(desk: Desk) -> None:
    files = ("--secret-file", str(desk.muster.home / "hook-secret"), "--url-file", str(desk.muster.home / "hook-url"))
    await desk.run("connect", "lms", *files, "--timeout", "1")

    assert list(desk.learn.vendor.subscribers) == [NAME]
