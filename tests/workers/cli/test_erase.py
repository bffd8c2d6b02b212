"""`muster erase` as a real command, against a simulated 4HSE, on both databases."""

import asyncio
import functools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from receiver.intake import Request
from receiver.rejects import Rejects, kept
from receiver.sources import sources
from schemas.delivery import now_utc
from schemas.heartbeat import Heartbeat
from schemas.samples import SUBSCRIPTION as SAMPLE
from schemas.settings import RejectedSettings, Settings
from schemas.states import DeliveryState
from tests.services.muster import Muster
from tests.workers.cli.ruled import Desk
from tests.workers.made import NOON, until
from tests.workers.operations.lives import ADA, BEA, contents, naming, pipeline
from tests.workers.vendors.acme import KEY, TENANT, acme
from workers.database import Database, close_database, open_database
from workers.erasures import Erasure
from workers.journal import Journal
from workers.log import LoggedDelivery
from workers.receivers import note
from workers.simulators.fourhse import Keycloak, Tenancy, simulator
from workers.simulators.server import served

_SETTINGS = """\
database = "{database}"
[accounts.hse]
vendor = "4hse"
base_url = "{url}"
insecure = true
access_token_file = "key"
limits = {{ attempts = 1, timeout = 5 }}
[accounts.lms]
vendor = "anewspring"
base_url = "https://acme.anewspring.com"
api_key_file = "key"
[accounts.ispring]
vendor = "ispring"
account_url = "https://acme.ispringlearn.com"
client_id = "c"
client_secret_file = "key"
"""
WHO = ("--account", "hse", "--subscriber", ADA.person)
_NOT_ASKED = "".join(
    f"{name}: it knows them by an id and was not asked; what it sends or shows from now on is kept, unless --block\n"
    for name in ("ispring", "lms")
)


@dataclass(frozen=True, slots=True)
class Office(Desk):
    """A directory with settings, a database in which Ada and Bea are known, and a 4HSE that knows neither."""

    database_url: str
    tenancy: Tenancy

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.cli", *arguments),
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    def hire(self) -> None:
        """4HSE knows Ada, too."""
        about = {"first_name": ADA.name, "last_name": "A", "birth_date": "1980-02-29", "project_id": TENANT}
        self.tenancy.create("person", {"person_id": ADA.person, **about})

    async def inside(self, act: Callable[[Database], Awaitable[None]]) -> None:
        """Do something with the database."""
        try:
            await act(await open_database(self.database_url))
        finally:
            await close_database()

    async def naming_ada(self) -> list[str]:
        """The rows that name her."""
        found: list[str] = []

        async def look(database: Database) -> None:
            found.extend(naming(await contents(database), ADA))

        await self.inside(look)
        return found


@pytest_asyncio.fixture
async def office(tmp_path: Path, database_url: str) -> AsyncIterator[Office]:
    tenancy = acme()
    (tmp_path / "key").write_text(KEY)
    async with served(simulator(tenancy, Keycloak({}, keys={KEY}))) as url:
        (tmp_path / "muster.toml").write_text(_SETTINGS.format(database=database_url, url=url))
        made = Office(tmp_path, database_url, tenancy)
        done = await made.muster("init")
        assert done.code == 0, done.err
        await made.inside(_lived)
        yield made


async def _lived(database: Database) -> None:
    for one in (ADA, BEA):
        await one.lived(database)
        await pipeline(database).together(one.told())


async def test_a_dry_run_tells_what_would_go_and_leaves_it(office: Office) -> None:
    before = await office.naming_ada()
    shown = await office.muster("erase", *WHO, "--dry-run")
    said = (await office.muster("erase", *WHO, "--dry-run", "--json")).json

    assert (shown.code, shown.err) == (0, _NOT_ASKED)
    assert {line.split()[0]: line.split()[1] for line in shown.out.splitlines()}["deliveries"] == "11"
    assert (said["dry_run"], said["at_vendor"], said["erased"]["needs"], said["at"]) == (True, False, 1, None)
    assert await office.naming_ada() == before


async def test_it_asks_first_then_erases_and_keeps_no_name(office: Office) -> None:
    refused = await office.muster("erase", *WHO, answer="n\n")
    still = await office.naming_ada()
    done = await office.muster("erase", *WHO, "--by", "root", "--because", "ticket 7", answer="y\n")
    again = await office.muster("erase", *WHO, "--yes", "--json")

    assert (refused.code, done.code, again.code) == (1, 0, 0), done.err
    assert "Erase 46 rows, for good?" in refused.err
    assert still
    assert "erased: 46 rows\n" in done.out
    assert await office.naming_ada() == []
    assert (again.json["erased"], again.json["block"]) == ({}, False)
    listed = (await office.muster("erase", "--list", "--json")).json
    assert [(one["account"], one["state"], one["block"]) for one in listed] == [("hse", "done", False)]
    assert ADA.person not in (await office.muster("erase", "--list")).out
    told = (await office.muster("audit", "--json")).out
    assert "ticket 7" in told
    assert ADA.person not in told


async def test_it_warns_while_4hse_still_has_them_unless_they_are_blocked(office: Office) -> None:
    office.hire()
    warned = await office.muster("erase", *WHO, "--yes")
    blocked = await office.muster("erase", *WHO, "--yes", "--block")
    lifted = [(await office.muster("erase", *WHO, "--unblock")).out for _ in range(2)]

    assert "hse: 4HSE still has them, so reconcile brings them back: delete them there first, or take --block" in warned.err
    assert _NOT_ASKED in warned.err
    assert (blocked.err, "kept out from now on" in blocked.out) == ("", True)
    assert lifted == ["let in: what arrives from now on counts\n", "nobody of this id is kept out\n"]


async def test_a_vendor_that_cannot_be_asked_is_said_and_hinders_nothing(office: Office) -> None:
    (office.home / "key").write_text("wrong")
    done = await office.muster("erase", *WHO, "--yes", "--json")

    assert (done.code, done.json["at_vendor"]) == (0, None)
    assert "hse: nobody knows whether 4HSE still has them and reconcile will bring them back: 401" in done.err
    assert await office.naming_ada() == []


async def test_files_of_this_host_lose_them_and_of_others_it_is_said_what_they_keep(office: Office) -> None:
    data_dir, now = office.home / "muster-data", now_utc()
    data_dir.mkdir(exist_ok=True)
    rejects = Rejects(data_dir, RejectedSettings())
    given = {"vendor": "4hse", "account": "hse", "verify": {"secrets": ["right"]}}
    source = sources(Settings.model_validate({"sources": {"hse": given}}))["hse"]
    for one in (ADA, BEA):
        rejects.add(source, Request(event="E", headers={}, query={}, peer="::1", body=f'{{"person_id":"{one.person}"}}'.encode()), now)
    await rejects.close()
    told = [{"subject": f"hse/{one}", "time": NOON.isoformat(), "data": {"state": "live"}} for one in ("ad-1", "be-1")]
    Journal(data_dir / "events.jsonl").write([*told, {"subject": "x", "time": "-", "data": {"observer_id": ADA.employee}}])
    await office.inside(_heard_of)
    done = await office.muster("erase", *WHO, "--yes", "--json")

    assert (done.code, done.json["files"]) == (0, {"rejected.sqlite3": 1, "events.jsonl": 2}), done.err
    assert [one.request.body for one in kept(data_dir, NOON)] == [f'{{"person_id":"{BEA.person}"}}'.encode()]
    assert (data_dir / "events.jsonl").read_text().strip() == json.dumps(told[1], separators=(",", ":"))
    assert "elsewhere: 3 rejected requests on its host were not searched" in done.err


async def _heard_of(database: Database) -> None:
    now = now_utc()
    beats = [
        Heartbeat(name=name, at=now, began_at=now, every=30, program="1", spooled=0, rejected=3 * (name == "elsewhere"))
        for name in ("a", "elsewhere")
    ]
    await note(database, beats, now)


async def test_wrong_usage_is_told(office: Office) -> None:
    for arguments, said in (
        (("--account", "hse"), "say whose: --account and --subscriber"),
        ((*WHO, "--block", "--unblock"), "either --block or --unblock"),
        (("--account", "lms", "--subscriber", "x"), "lms is no 4HSE account"),
        (("--account", "hsee", "--subscriber", "x"), "no account 'hsee' is configured, and the mirror knows none"),
    ):
        done = await office.muster("erase", *arguments, "--yes")
        assert (done.code, said in done.err) == (2, True), done.err


async def test_killed_at_any_moment_it_goes_on_where_it_was(office: Office) -> None:
    await office.inside(_much)
    kept: list[tuple[str, Mapping[str, int]]] = []
    for rows in (0, 100, 400):
        process = await office.start("erase", *WHO, "--yes")
        try:
            await until(functools.partial(_scanned, office, rows), f"{rows} rows")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
        kept.append(await _kept(office))
        if kept[-1][0] == "done":  # it was done before it was killed, and another would begin anew
            break
    done = await office.muster("erase", *WHO, "--yes", "--json")
    erased = Counter(done.json["erased"]) + Counter(kept[-1][1] if kept[-1][0] == "done" else {})

    assert kept[0][0] == "running"
    assert done.code == 0, done.err
    assert await office.naming_ada() == []
    assert (erased["deliveries"], erased["needs"]) == (11 * 61, 1)


async def _much(database: Database) -> None:
    for _ in range(60):
        await pipeline(database).together([*ADA.told(), *BEA.told()])


async def _scanned(office: Office, rows: int) -> bool:
    """Whether it has begun, and has gone so far through the log."""
    found: list[int] = []

    async def look(_: Database) -> None:
        erasure = await Erasure.first()
        found.append(-1 if erasure is None else await LoggedDelivery.filter(reason="erased").count() if rows else 0)

    await office.inside(look)
    return found[0] >= rows


async def _kept(office: Office) -> tuple[str, Mapping[str, int]]:
    """The state of the one erasure, and what it says is erased."""
    found: list[tuple[str, Mapping[str, int]]] = []

    async def look(_: Database) -> None:
        erasure = await Erasure.get()
        found.append((erasure.state, erasure.erased))

    await office.inside(look)
    return found[0]


async def test_a_delivery_shows_that_it_was_erased_or_that_its_body_was_dropped(office: Office) -> None:
    await office.muster("erase", *WHO, "--yes")
    ids: dict[str, str] = {}

    async def dropped(_: Database) -> None:
        other = await LoggedDelivery.filter(state=DeliveryState.APPLIED, body__isnull=False).first()
        assert other is not None
        await LoggedDelivery.filter(id=other.id).update(body=None, headers={})
        one = await LoggedDelivery.filter(reason="erased").first()
        assert one is not None
        ids.update(erased=str(one.id), dropped=str(other.id))

    await office.inside(dropped)
    erased, gone = [await office.muster("deliveries", "show", ids[one]) for one in ("erased", "dropped")]
    said = (await office.muster("deliveries", "show", ids["dropped"], "--json")).json

    assert "it is about somebody of whom nothing is kept" in erased.out
    assert "keep_bodies" not in erased.out
    assert "headers and body are dropped after keep_bodies" in gone.out
    assert (said["body"], said["headers"]) == (None, {})


async def test_running_workers_keep_out_who_is_blocked(muster: Muster) -> None:
    who = ("--account", "hse", "--subscriber", SAMPLE["subscriber_id"])

    async def triggered(count: int) -> list[tuple[str, str | None]]:
        await asyncio.to_thread(muster.run, "trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
        await until(lambda: len(_listed(muster)) == count, "its logging")
        return sorted(((one["state"], one["reason"]) for one in _listed(muster)), key=str)

    first = await triggered(1)
    done = await asyncio.to_thread(muster.run, "erase", *who, "--block", "--yes", "--json")
    second = await triggered(2)
    blocked = await asyncio.to_thread(muster.run, "subscriptions", "show", SAMPLE["action_subscription_id"], "--json")
    await asyncio.to_thread(muster.run, "erase", *who, "--unblock")
    third = await triggered(3)
    back = await asyncio.to_thread(muster.run, "subscriptions", "show", SAMPLE["action_subscription_id"], "--json")

    assert (first, json.loads(done.stdout)["erased"]["deliveries"]) == ([("applied", None)], 1)
    assert second == [("applied", "erased"), ("ignored", "erased")]
    assert third == [("applied", "erased"), ("applied", None), ("ignored", "erased")]
    assert [(one["state"], one["subscriber_id"]) for one in map(json.loads, (blocked.stdout, back.stdout))] == [
        ("deleted", None),
        ("live", SAMPLE["subscriber_id"]),
    ]


def _listed(muster: Muster) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(muster.run("deliveries", "list", "--json").stdout)
    return found
