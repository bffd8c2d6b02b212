"""iSpring Learn: on-the-job sessions ("Getting Session Details") and the life of a webhook subscriber (pages on `/webhook/…`).

Every call raises the errors of `workers.vendors.errors`. A subscriber takes one type of event, a newer code kills the older ones,
and a name that is taken is refused with a 400 in words nobody documents: look at `subscriber` before `register`, and after an
unknown outcome.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import jiter
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from schemas.accounts import IspringAccount
from schemas.ispring import (
    Observation,
    Observations,
    SessionStatus,
    Subscriber,
    SubscriptionType,
    WebhookSubscription,
    WebhookSubscriptions,
)
from workers.vendors.calls import Called
from workers.vendors.credentials import Credential
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, VendorError
from workers.vendors.http import Answer, Call, Http
from workers.vendors.reading import content, is_markup, is_page, page_text, typed, unreadable
from workers.vendors.tokens import Tokens

#: "It can have up to 255 characters": subscriberName, callbackUrl and secret.
LONGEST = 255
_SHOWN = 500


class Ispring:
    """One iSpring Learn account."""

    def __init__(self, account: IspringAccount, now: Callable[[], datetime]) -> None:
        self._account = account
        self._http = Http(str(account.base_url).rstrip("/"), account.limits, now)
        self._secret = Credential("client_secret_file", account.client_secret_file)
        self._tokens = Tokens(self._http, account.token_path, self._grant, account.early, self._secret.forget)

    @property
    def http(self) -> Http:
        """The HTTP layer, for its counts and its breaker's state."""
        return self._http

    def tell(self, told: Callable[[Called], None]) -> None:
        """Have every request told of."""
        self._http.told = told

    async def observations(
        self, checklist: str | None = None, *, sessions: Iterable[str] = (), status: SessionStatus | None = None
    ) -> tuple[Observation, ...]:
        """On-the-job sessions: of one checklist or of all, only these sessions, only with this status; no pages, no dates to ask by."""
        asked = {"checklistId": checklist, "sessionIds": list(sessions), "sessionStatus": status}
        call = Call("POST", "/job-training/sessions/result/list", json={name: value for name, value in asked.items() if value})
        return typed(Observations, call, content(call, await self._answered(call)), self._account.dates).root

    async def every_observation(self) -> AsyncIterator[tuple[str | None, tuple[Observation, ...]]]:
        """(checklist, its sessions): one call per configured checklist; none configured, one call without."""
        for checklist in self._account.checklists or (None,):
            yield checklist, await self.observations(checklist)

    async def register(self, name: str, url: str, secret: str | None = None) -> None:
        """Add a webhook subscriber, unconfirmed. The secret and the address' query go out with the request and are kept nowhere."""
        body = {"subscriberName": name, "callbackUrl": url} | ({"secret": secret} if secret else {})
        _check_lengths(body)
        await self._write("register", body, hidden=(secret, url.partition("?")[2]))

    async def send_code(self, name: str) -> None:
        """Let iSpring deliver a confirmation code to the subscriber's address; codes sent before stop working."""
        await self._write("code/send", {"subscriberName": name})

    async def confirm(self, name: str, code: str) -> None:
        """Give back the code that was delivered; raises Refused for one that is wrong or outlived."""
        await self._write("confirm", {"subscriberName": name, "code": code}, hidden=(code,))

    async def subscribe(self, name: str, kind: SubscriptionType, filters: Mapping[str, Sequence[str]] | None = None) -> None:
        """Tell the subscriber of one type of event; `filters` such as userIds and courseIds narrow it."""
        params = [{"name": one, "value": json.dumps(list(values))} for one, values in (filters or {}).items()]
        subscription = {"subscriptionType": kind} | ({"params": params} if params else {})
        await self._write("subscribe", {"subscriberName": name, "subscription": subscription})

    async def unsubscribe(self, name: str, kind: str) -> None:
        """Tell the subscriber of this type no more."""
        await self._write("unsubscribe", {"subscriberName": name, "subscriptionType": kind})

    async def remove(self, name: str) -> None:
        """Delete the subscriber for good; its name is free again."""
        await self._write("remove", {"subscriberName": name})

    async def subscriptions(self, name: str) -> tuple[WebhookSubscription, ...]:
        """What the subscriber is told of."""
        call = Call("GET", "/webhook/subscription/list", params={"subscriberName": name})
        return typed(WebhookSubscriptions, call, content(call, await self._answered(call))).root

    async def subscriber(self, name: str) -> Subscriber:
        """How the subscriber stands; raises NotFound."""
        call = Call("GET", "/webhook/subscriber/info", params={"subscriberName": name})
        return typed(Subscriber, call, content(call, await self._answered(call)))

    async def login(self) -> None:
        """See that the client id and the secret are good for a token."""
        await self._tokens.current()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _write(self, operation: str, body: Mapping[str, Any], hidden: Iterable[str | None] = ()) -> None:
        call = Call("POST", f"/webhook/{operation}", json=body, write=True)
        answer = await self._answered(call, hidden)
        if is_page(answer):
            raise unreadable(call, f"{answer.status} with an HTML page")

    async def _answered(self, call: Call, hidden: Iterable[str | None] = ()) -> Answer:
        """The answer of success; on 401 once more with a new token."""
        token = renewed = await self._tokens.current()
        answer = await self._sent(call, token)
        if answer.status == 401:
            await self._tokens.refused(token)
            renewed = await self._tokens.current()
            answer = await self._sent(call, renewed)
        if not answer.ok:
            raise _error(call, answer, (token, renewed, *hidden))
        return answer

    async def _sent(self, call: Call, token: str) -> Answer:
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        headers["X-Auth-Account-Url"] = str(self._account.account_url).rstrip("/")
        if self._account.locale:
            headers["X-Target-Locale"] = self._account.locale
        return await self._http.call(replace(call, headers=headers))

    def _grant(self) -> dict[str, str]:
        return {"client_id": self._account.client_id, "client_secret": self._secret.read(), "grant_type": "client_credentials"}


def _check_lengths(body: Mapping[str, str]) -> None:
    wrong = [name for name, value in body.items() if not 0 < len(value) <= LONGEST]
    if wrong:
        raise Refused(0, tuple(Complaint(name, f"must have 1 to {LONGEST} characters") for name in wrong))


def _error(call: Call, answer: Answer, hidden: Iterable[str | None]) -> VendorError:
    """What a refusal means; `hidden` stays out of the vendor's words, should they repeat it."""
    words = _words(answer)
    for one in filter(None, hidden):
        words = words.replace(one, "[hidden]")
    words = words[:_SHOWN]
    if answer.status == 404:
        return NotFound(f"{call.name}: {words}")
    if answer.status == 409:
        return Conflict(f"{call.name}: {words}")
    return Refused(answer.status, (Complaint(None, words),) if words else ())


def _words(answer: Answer) -> str:
    """The message of `{"code", "message"}`, in JSON or XML whatever was asked for, or whatever text there is."""
    if is_markup(answer):
        return _xml_message(answer.body) or page_text(answer.text)
    try:
        said = jiter.from_json(answer.body)
    except ValueError:
        return " ".join(answer.text.split())
    message = said.get("message") if isinstance(said, dict) else None
    return str(message) if message else ""


def _xml_message(body: bytes) -> str | None:
    try:
        found = fromstring(body).findtext("message")
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    return str(found) if found else None
