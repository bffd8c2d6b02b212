"""`muster vendor` and `muster check` against a simulated 4HSE, as real commands."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.services import commands
from tests.workers.vendors.acme import KEY, PERSON, SUBSCRIPTION, TENANT, populated
from workers.operations.vendor import VERBS
from workers.simulators.fourhse import Keycloak, Tenancy, simulator
from workers.simulators.server import served

_ACCOUNTS = """
[accounts.hse]
vendor = "4hse"
base_url = "{url}"
insecure = true
access_token_file = "key"
limits = {{ attempts = 1, timeout = 5 }}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory with settings for one account at the simulated vendor."""

    home: Path
    tenancy: Tenancy

    async def muster(self, *arguments: str, answer: str = "") -> Done:
        """Run a command there; `answer` is typed at it."""
        done = await asyncio.to_thread(commands.run, *arguments, cwd=self.home, answer=answer)
        return Done(done.returncode, done.stdout, done.stderr)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    tenancy = populated()
    (tmp_path / "key").write_text(f"{KEY}\n")
    async with served(simulator(tenancy, Keycloak({}, keys={KEY}))) as url:
        (tmp_path / "muster.toml").write_text(_ACCOUNTS.format(url=url))
        yield Desk(tmp_path, tenancy)


async def test_view_prints_what_the_vendor_has(desk: Desk) -> None:
    done = await desk.muster("vendor", "hse", "view", SUBSCRIPTION, "--json")

    assert done.code == 0, done.err
    assert json.loads(done.out)["action_subscription_id"] == SUBSCRIPTION


async def test_a_person_is_named_by_code_and_project_too(desk: Desk) -> None:
    upserted = await desk.muster(
        *("vendor", "hse", "upsert", "person", "code=JS001", f"project_id={TENANT}"),
        *("first_name=John", "last_name=Smythe", "birth_date=1980-02-29", "--yes"),
    )
    viewed = await desk.muster("vendor", "hse", "view", "person", f"JS001@{TENANT}", "--json")
    historicized = await desk.muster("vendor", "hse", "historicize", "person", f"JS001@{TENANT}", "--yes")

    assert (upserted.code, viewed.code, historicized.code) == (0, 0, 0), upserted.err + viewed.err + historicized.err
    assert (json.loads(viewed.out)["person_id"], json.loads(viewed.out)["last_name"]) == (PERSON, "Smythe")
    assert not desk.tenancy.active(PERSON)


async def test_index_filters(desk: Desk) -> None:
    found = await desk.muster("vendor", "hse", "index", "action-subscription", "subscriber_type=PERSON", "--json")
    none = await desk.muster("vendor", "hse", "index", "action-subscription", "subscriber_type=PPE", "--json")

    assert len(json.loads(found.out)) == 1
    assert json.loads(none.out) == []


async def test_what_changes_data_is_asked_about_first_and_not_done_on_no(desk: Desk) -> None:
    no = await desk.muster("vendor", "hse", "delete", "action-subscription", SUBSCRIPTION, answer="n\n")
    still = await desk.muster("vendor", "hse", "view", SUBSCRIPTION)
    yes = await desk.muster("vendor", "hse", "delete", "action-subscription", SUBSCRIPTION, "--yes")
    gone = await desk.muster("vendor", "hse", "view", SUBSCRIPTION)

    assert (no.code, still.code, yes.code, gone.code) == (1, 0, 0, 1)
    assert "NotFound" in gone.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["nobody", "view", "x"], "no account 'nobody'", id="an account that is not configured"),
        pytest.param(["hse", "fetch", "x"], "take one of view", id="a verb that does not exist"),
        pytest.param(["hse", "update", "action"], "usage: update RESOURCE ID", id="too few arguments"),
        pytest.param(["hse", "index", "offices"], "no resource 'offices'", id="a resource that does not exist"),
    ],
)
async def test_misuse_is_told_and_exits_2(desk: Desk, arguments: list[str], says: str) -> None:
    done = await desk.muster("vendor", *arguments, "--yes")

    assert done.code == 2
    assert says in done.err


async def test_without_a_verb_it_lists_what_there_is(desk: Desk) -> None:
    done = await desk.muster("vendor", "hse")

    assert all(name in done.out for name in VERBS["4hse"])


async def test_check_logs_in_to_each_account_and_tells_a_refusal_without_the_credential(desk: Desk) -> None:
    await desk.muster("init")
    fine = await desk.muster("check")
    (desk.home / "key").write_text("another-k3y")
    refused = await desk.muster("check")

    assert fine.code == 0, fine.err
    assert "account hse: 4hse lets it in" in fine.out
    assert refused.code == 1
    assert "account hse: 4hse: Refused: 401" in refused.err
    assert "another-k3y" not in refused.out + refused.err


async def test_check_names_the_setting_of_a_credential_that_cannot_be_read(desk: Desk) -> None:
    (desk.home / "key").unlink()
    done = await desk.muster("check")

    assert done.code == 1
    assert "access_token_file: the file cannot be read" in done.err
