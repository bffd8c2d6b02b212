"""Writes outcomes to 4HSE: claims steps that are due, looks, writes, notes what came of it, and has what follows planned.

Whoever makes the certificate of a passed session is unsaid ("is typically generated"): one that is there already is taken for ours.
Our own has an id that follows from its need, so that no second can come of a request whose answer was lost, however late it lands.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import structlog

from schemas.accounts import FourhseAccount, zone_of
from schemas.fourhse import Action, ActionSession, lenient_date
from schemas.logs import Log
from workers.database import Database, patiently
from workers.followups import recordings
from workers.followups.case import INITIAL
from workers.followups.outcomes import Planner
from workers.followups.recording import OF_SESSION, OTHERWISE, Step, ended
from workers.followups.recordings import Claim
from workers.followups.retries import RETRIES, Retry, Waits, retry
from workers.followups.validity import readable
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, UnknownOutcome, VendorError
from workers.vendors.fourhse import Fourhse, Resource
from workers.vendors.fourhse.client import Row
from workers.vendors.pauses import IDLE

log = structlog.get_logger()

#: What is not shown may be so for want of rights; a conflict is looked up.
_WAITS: Waits = {**RETRIES, NotFound: RETRIES[Refused], Conflict: (5, 60, 300)}
#: When a mistake of ours is tried again that was tried often.
_OURS = timedelta(days=1)


class Gone(Exception):
    """What was to be told an outcome is not there any more."""


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
        return max(await asyncio.gather(*(self._traced(account, one) for one in due)), default=IDLE)

    async def _traced(self, account: OpenAccount, claim: Claim) -> float:
        with claim.traced(account.tracer):
            return await self._worked(account, claim)

    async def _worked(self, account: OpenAccount, claim: Claim) -> float:
        """Write one step; whatever goes wrong, its row says what. Gives how long to leave the account alone."""
        # In a task of its own, so that every line that follows says for whose sake it is.
        structlog.contextvars.bind_contextvars(recording=str(claim.id))
        try:
            return await self._written(account, claim)
        except Exception as error:  # noqa: BLE001 - the one place: a mistake of ours ends neither the task nor unseen
            self._log(claim, error)
            wait, name = failure(UnknownOutcome(""), claim.attempts).wait or _OURS, type(error).__name__
            await self._note(lambda now: recordings.again(self._database, claim, now + wait, name, blamed=True))
            return 0.0

    async def _written(self, account: OpenAccount, claim: Claim) -> float:
        planner, skew = self._followups, self._clock_skew
        try:
            remote = await self._tried(account, claim)
        except Gone as gone:
            why = str(gone)
            await self._note(lambda now: recordings.dropped(self._database, claim, why, planner, now, skew))
        except VendorError as error:
            return await self._failed(claim, error)
        else:
            await self._note(lambda now: recordings.written(self._database, claim, remote, planner, now, skew))
        return 0.0

    async def _tried(self, account: OpenAccount, claim: Claim) -> str:
        try:
            async with asyncio.timeout(self._lease.total_seconds() / 2):
                return await _WRITERS[claim.step.partition(" ")[0]](account, claim)
        except TimeoutError:
            raise UnknownOutcome("no end of it came") from None

    async def _failed(self, claim: Claim, error: VendorError) -> float:
        self._log(claim, error)
        wait, pause = failure(error, claim.attempts)
        if wait is None:
            await self._note(lambda now: recordings.given_up(self._database, claim, str(error), self._followups, now))
        else:
            await self._note(lambda now: recordings.again(self._database, claim, now + wait, str(error), blamed=not pause))
        return pause

    def _log(self, claim: Claim, error: Exception) -> None:
        log.warning(Log.RECORDING_FAILED, recording=str(claim.id), step=claim.step, account=claim.account, error=type(error).__name__)

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
    session = claim.body.get(OF_SESSION)
    shown = await _terms(account, "session", ActionSession, "action-session", session) if session else {}
    return ended(claim.body, shown if shown.get("validity") else await _terms(account, "action", Action, "action", str(claim.action)))


async def _terms(account: OpenAccount, noun: str, shape: type[Action | ActionSession], path: str, id: str) -> Mapping[str, Any]:  # noqa: A002
    shown = shape.model_validate(await _resource(account, path).view(id)).model_dump()
    if not readable(shown):
        said = f"the {noun}'s {shown['validity']} {shown['validity_unit']} is nothing that can be counted"
        raise Refused(0, (Complaint("validity", said),))
    return shown


async def _there_already(account: OpenAccount, claim: Claim) -> str | None:
    """Ours; else the one that the session enrollment names; else the first that is linked to the action."""
    rows = [row async for row in _found(account, "certificate", {"resource_id": claim.body["resource_id"]})]
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
    zone = zone_of(account.settings)
    released = lenient_date(row.get("date_release"), zone)
    opened: date = claim.opened_at.astimezone(zone).date()
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
    async for row in _found(account, "certificate-action", {"certificate_id": certificate, "action_id": action}):
        return str(row["certificate_action_id"])
    return None


async def _found(account: OpenAccount, path: str, wanted: Mapping[str, Any]) -> AsyncIterator[Row]:
    """The rows of an index that are as wanted, also where it ignores its filter."""
    async for page in _resource(account, path).index(filter=wanted):
        for row in page.rows:
            if all(row.get(name) in (None, value) for name, value in wanted.items()):
                yield row


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
    try:
        shown = await resource.view(claim.remote)
        if any(_text(shown.get(name)) != _text(value) for name, value in body.items()):
            await resource.update(claim.remote, body)
    except NotFound:
        # Who sees the subscription sees what it sits in: else it may be there, and be hidden from this login.
        await _resource(account, "action-subscription").view(claim.subscription)
        raise Gone("its session enrollment is not there any more") from None
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
