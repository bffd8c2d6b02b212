"""`muster rejected`: a wrong secret is mended, and what it kept out comes in, once."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from receiver.rejects import FILE
from receiver.spool import depth
from schemas.samples import SUBSCRIPTION
from tests.services import until
from tests.services.muster import SECRET, Muster

MENDED = "the-vendors-own-secret"


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Muster]:
    """An embedded muster that runs, with a wrong secret."""
    made = Muster(tmp_path)
    made.start("serve")
    yield made
    made.close()


def rejected(muster: Muster, *subjects: str) -> list[dict[str, Any]]:
    """Send what the receiver takes for forged, and see it kept, newest first."""
    for subject in subjects:
        address = muster.hook("ACTION_SUBSCRIPTION::CREATE").replace(SECRET, MENDED)
        assert httpx2.post(address, json=SUBSCRIPTION | {"action_subscription_id": subject}).status_code == 401
    until(lambda: len(listed(muster)) == len(subjects), 20, "the keeping")
    return listed(muster)


def listed(muster: Muster) -> list[dict[str, Any]]:
    """`muster rejected list`, as a script reads it."""
    found: list[dict[str, Any]] = json.loads(muster.run("rejected", "list", "--json").stdout)
    return found


def mend(muster: Muster) -> None:
    """What an operator does, while the receiver runs on."""
    muster.config.write_text(muster.config.read_text().replace(SECRET, MENDED))


def deliveries(muster: Muster) -> list[dict[str, Any]]:
    """The log."""
    found: list[dict[str, Any]] = json.loads(muster.run("deliveries", "list", "--json").stdout)
    return found


def test_what_a_wrong_secret_kept_out_is_let_in_once_it_is_mended_with_its_time_and_only_once(muster: Muster) -> None:
    first, second = reversed(rejected(muster, "s1", "s2"))
    still = muster.run("rejected", "verify")
    mend(muster)
    rehearsed, there = muster.run("rejected", "verify", "--dry-run"), listed(muster)
    done = json.loads(muster.run("rejected", "verify", "--json").stdout)
    until(lambda: len([one for one in deliveries(muster) if one["state"] == "applied"]) == 2, 20, "the applying")
    again = muster.run("rejected", "verify")
    found = {one["id"]: one for one in deliveries(muster)}

    assert "hse: 2 stay: The request could not be verified" in still.stdout
    assert (rehearsed.stdout, len(there)) == ("hse: 2 verify now\n", 2)
    assert done == {"passed": {"hse": 2}, "refused": []}
    assert "nothing that failed verification is kept here" in again.stdout
    assert {id_: (one["event"], one["received_at"][:19]) for id_, one in found.items()} == {
        one["id"]: ("ACTION_SUBSCRIPTION::CREATE", one["at"].replace(" ", "T")[:19]) for one in (first, second)
    }
    assert [one["action_subscription_id"] for one in subscriptions(muster)] == ["s1", "s2"]


def subscriptions(muster: Muster) -> list[dict[str, Any]]:
    """The mirror."""
    found: list[dict[str, Any]] = json.loads(muster.run("subscriptions", "list", "--json").stdout)
    return sorted(found, key=lambda one: str(one["action_subscription_id"]))


def test_one_request_is_shown_with_what_would_become_of_it_and_no_token_is(embedded: Muster) -> None:
    (one,) = rejected(embedded, "s1")
    before = embedded.run("rejected", "show", one["id"])
    mend(embedded)
    after = json.loads(embedded.run("rejected", "show", one["id"], "--json").stdout)
    on_disk = b"".join(path.read_bytes() for path in embedded.data_dir.glob("rejected*"))

    assert "The request could not be verified" in before.stdout
    assert "`muster rejected verify` lets it in" in after["now"]
    assert (json.loads(after["body"])["action_subscription_id"], after["query"]["token"][:7]) == ("s1", "digest:")
    assert after["headers"]["content-type"] == "application/json"
    assert all(MENDED not in text for text in (before.stdout, json.dumps(after), embedded.log("serve")))
    assert MENDED.encode() not in on_disk
    assert {stat.S_IMODE(path.stat().st_mode) for path in embedded.data_dir.glob("rejected*")} == {0o600}


def test_only_one_sources_requests_are_looked_at_where_one_is_named(embedded: Muster) -> None:
    rejected(embedded, "s1")
    mend(embedded)

    assert json.loads(embedded.run("rejected", "list", "--source", "lms", "--json").stdout) == []
    assert "nothing" in embedded.run("rejected", "verify", "--source", "lms").stdout
    assert "hse: 1 verify now, and are in the spool" in embedded.run("rejected", "verify", "--source", "hse").stdout


def test_where_none_is_to_be_kept_none_is(tmp_path: Path) -> None:
    muster = Muster(tmp_path, receiver="rejected = { count = 0 }")
    try:
        muster.start("serve")
        assert httpx2.post(muster.hook("E").replace(SECRET, MENDED)).status_code == 401
    finally:
        muster.close()

    assert "nothing" in muster.run("rejected", "verify").stdout
    assert not list(muster.data_dir.glob("rejected*"))


def test_a_full_spool_takes_what_it_can_and_says_how_to_go_on(tmp_path: Path) -> None:
    muster = Muster(tmp_path, broker="amqp://127.0.0.1:9/", receiver='max_body = "700KiB"\nspool_max = "1MiB"\nname = "r"')
    try:
        receiver = muster.start("receive")
        for _ in range(2):
            assert httpx2.post(muster.hook("E").replace(SECRET, MENDED), content=b"x" * 600_000).status_code == 401
        until(lambda: len(listed(muster)) == 2, 20, "the keeping")
        receiver.terminate()
        receiver.wait(20)
        mend(muster)
        done = muster.run("rejected", "verify", check=False)
    finally:
        muster.close()

    assert (done.returncode, len(listed(muster)), depth(muster.data_dir)) == (1, 1, 1)
    assert "raise receiver.spool_max" in done.stderr


@pytest.mark.parametrize("command", [["list"], ["verify"], ["show", "0" * 32]])
def test_a_file_that_is_broken_is_told_without_a_traceback(tmp_path: Path, command: list[str]) -> None:
    muster = Muster(tmp_path)
    muster.data_dir.mkdir()
    (muster.data_dir / FILE).write_bytes(b"no database at all" * 1000)
    done = muster.run("rejected", *command, check=False)

    assert done.returncode == 1
    assert f"the files in {muster.data_dir} cannot be used (DatabaseError)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_that_is_not_kept_is_told(tmp_path: Path) -> None:
    done = Muster(tmp_path).run("rejected", "show", "0" * 32, check=False)

    assert done.returncode == 1
    assert "no request 00000000-" in done.stderr
