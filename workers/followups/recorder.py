"""Writes outcomes to 4HSE: claims steps that are due, looks, writes, notes what came of it, and has what follows planned.

Whoever makes the certificate of a passed session is unsaid ("is typically generated"): one that is there already is taken for ours.
Our own has an id that follows from its need, so that no second can come of a request whose answer was lost, however late it lands.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from schemas.accounts import FourhseAccount
from schemas.fourhse import Action, lenient_date
from schemas.logs import Log
from workers.database import Database, patiently
from workers.followups import recordings
from workers.followups.case import INITIAL
from workers.followups.claims import Planner
from workers.followups.recording import OTHERWISE, Step, ended
from workers.followups.recordings import Claim
from workers.followups.retries import RETRIES, Retry, Waits, retry
from workers.followups.validity import readable
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, UnknownOutcome, VendorError
from workers.vendors.fourhse import Fourhse, Resource
from workers.vendors.pauses import IDLE

log = structlog.get_logger()

#: A session enrollment that is not shown may be so for want of rights; a conflict is looked up.
_WAITS: Waits = {**RETRIES, NotFound: RETRIES[Refused], Conflict: (5, 60, 300)}


class Recorder:
    """One task for each 4HSE account."""

    def __init__(
        self,
        database: Database,
        accounts: OpenAccounts,
        followups: Planner,
        now: Callable[[], datetime],
        clock_skew: timedelta = timedelta(seconds=5),
        lease: timedelta = recordings.LEASE,
    ) -> None:
        self._database, self._accounts, self._followups, self._now = database, accounts, followups, now
        self._clock_skew, self._lease = clock_skew, lease

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for account in self._accounts:
                if isinstance(account.settings, FourhseAccount):
                    group.create_task(self._serve(account))
            await asyncio.Event().wait()

    async def _serve(self, account: OpenAccount) -> None:
        while True:
            pause = await self.round(account)
            await asyncio.sleep(pause)

    async def round(self, account: OpenAccount) -> float:
        """Write what is due in an account; gives how many seconds to wait before the next round."""
        due = await patiently(
            lambda: recordings.claim(self._database, account.name, self._now(), account.settings.limits.concurrency, self._lease)
        )
        return max(await asyncio.gather(*(self._followed(account, one) for one in due)), default=IDLE)

    async def _followed(self, account: OpenAccount, claim: Claim) -> float:
        with claim.followed(account.tracer):
            return await self._worked(account, claim)

    async def _worked(self, account: OpenAccount, claim: Claim) -> float:
        """Write one step; whatever goes wrong, its row says what. Gives how long to leave the account alone."""
        # In a task of its own, so that every line that follows says for whose sake it is.
        structlog.contextvars.bind_contextvars(recording=str(claim.id))
        try:
            remote = await self._tried(account, claim)
            await self._note(lambda now: recordings.written(self._database, claim, remote, self._followups, now, self._clock_skew))
        except VendorError as error:
            return await self._failed(claim, error)
        except Exception as error:  # noqa: BLE001 - the one place: a mistake of ours ends neither the task nor unseen
            return await self._failed(claim, UnknownOutcome(type(error).__name__))
        return 0.0

    async def _tried(self, account: OpenAccount, claim: Claim) -> str:
        try:
            async with asyncio.timeout(self._lease.total_seconds() / 2):
                return await _WRITERS[claim.step.partition(" ")[0]](account, claim)
        except TimeoutError:
            raise UnknownOutcome("no end of it came") from None

    async def _failed(self, claim: Claim, error: VendorError) -> float:
        log.warning(Log.RECORDING_FAILED, recording=str(claim.id), step=claim.step, account=claim.account, error=type(error).__name__)
        wait, pause = failure(error, claim.attempts)
        if wait is None:
            await self._note(lambda now: recordings.given_up(self._database, claim, str(error), self._followups, now))
        else:
            await self._note(lambda now: recordings.again(self._database, claim, now + wait, str(error), blamed=not pause))
        return pause

    async def _note(self, work: Callable[[datetime], Awaitable[None]]) -> None:
        await patiently(lambda: work(self._now()))


def failure(error: VendorError, attempts: int) -> Retry:
    """What follows from an error after so many failed tries: later again, alone or with the whole account, or never."""
    return retry(error, attempts, _WAITS)


async def _certificate(account: OpenAccount, claim: Claim) -> str:
    """The id of this cycle's certificate, which is made if there is none."""
    there = await _there_already(account, claim)
    return there or await _created(_resource(account, "certificate"), claim, await _body(account, claim))


async def _body(account: OpenAccount, claim: Claim) -> Mapping[str, Any]:
    """What is written; by an action that the mirror did not know as 4HSE shows it now, for how long it makes valid is not guessed."""
    if OTHERWISE not in claim.body:
        return claim.body
    shown = Action.model_validate(await _resource(account, "action").view(str(claim.action))).model_dump()
    if not readable(shown):
        said = f"the action's {shown['validity']} {shown['validity_unit']} is nothing that can be counted"
        raise Refused(0, (Complaint("validity", said),))
    return ended(claim.body, shown)


async def _there_already(account: OpenAccount, claim: Claim) -> str | None:
    """Ours; else the one that the session enrollment names; else the first that is linked to the action."""
    rows = [
        row
        async for page in _resource(account, "certificate").index(filter={"resource_id": claim.body["resource_id"]})
        for row in page.rows
    ]
    newer = sorted((row["date_release"], row["certificate_id"]) for row in rows if _of_this_cycle(account, claim, row))
    ids = [str(id) for _, id in newer]  # noqa: A001
    if claim.remote in {str(row["certificate_id"]) for row in rows}:
        return claim.remote
    if ids and claim.seat is not None:
        named = (await _resource(account, "action-session-subscription").view(claim.seat)).get("certificate_id")
        if named in ids:
            return str(named)
    for id in ids:  # noqa: A001
        if await _link(account, id, claim.action):
            return id
    return None


def _of_this_cycle(account: OpenAccount, claim: Claim, row: Mapping[str, Any]) -> bool:
    """Whether a certificate is later than the one whose life the cycle is; before the first cycle there was none."""
    assert isinstance(account.settings, FourhseAccount)
    released = lenient_date(row.get("date_release"))
    opened: date = claim.opened_at.astimezone(ZoneInfo(account.settings.time_zone)).date()
    if claim.cycle == INITIAL and claim.begin is not None:
        opened = min(opened, claim.begin)
    return row["certificate_id"] != claim.cycle and released is not None and released >= opened


async def _certificate_action(account: OpenAccount, claim: Claim) -> str:
    """The id of what links the certificate to the action; it is made if there is none."""
    assert claim.certificate is not None
    found = await _link(account, claim.certificate, claim.action)
    body = {**claim.body, "certificate_id": claim.certificate}
    return found or await _created(_resource(account, "certificate-action"), claim, body)


async def _link(account: OpenAccount, certificate: str, action: str | None) -> str | None:
    page = await _resource(account, "certificate-action").page(1, filter={"certificate_id": certificate, "action_id": action})
    return str(page.rows[0]["certificate_action_id"]) if page.rows else None


async def _created(resource: Resource, claim: Claim, body: Mapping[str, Any]) -> str:
    try:
        await resource.create({**body, resource.shape.id: claim.remote})
    except Conflict as refused:
        try:
            await resource.view(claim.remote)  # a request of ours that landed late
        except NotFound:
            raise refused from None
    return claim.remote


async def _outcome(account: OpenAccount, claim: Claim) -> str:
    """The outcome in the session enrollment, told once."""
    resource = _resource(account, "action-session-subscription")
    body = dict(await _body(account, claim))
    if "certificate_id" in body:
        body["certificate_id"] = claim.certificate
    shown = await resource.view(claim.remote)
    if any(_text(shown.get(name)) != _text(value) for name, value in body.items()):
        await resource.update(claim.remote, body)
    return claim.remote


def _text(value: Any) -> str:
    """A value as it compares: of a date-time the day."""
    text = str(value)
    return text[:10] if text[10:11] in ("T", " ") else text


def _resource(account: OpenAccount, path: str) -> Resource:
    assert isinstance(account.client, Fourhse)
    return account.client.resources[path]


#: What is written, and how.
_WRITERS: Mapping[str, Callable[[OpenAccount, Claim], Awaitable[str]]] = MappingProxyType(
    {
        Step.CERTIFICATE.value: _certificate,
        Step.CERTIFICATE_ACTION.value: _certificate_action,
        Step.SESSION.value: _outcome,
        Step.FAILED.value: _outcome,
    }
)
