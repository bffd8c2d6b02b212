"""aNewSpring's subscription calls, as its support articles "API calls - Subscriptions" and "The API" give them.

Learners and courses are named by external ids in the path or, both of them as `Uid`, by the query. Bodies are forms. Errors are
plain text, JSON with `_formatErrors`, or some server's HTML page. Every call raises the errors of `workers.vendors.errors`; a 404
of the API's own says that the user or the course is missing, or the one not subscribed to the other; on an HTML page it says nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import jiter

from schemas.accounts import AnewspringAccount
from schemas.anewspring import Activity, ActivityAnswer, Change, IsSubscribed, Result, Results, Subscription, Subscriptions, Uid
from workers.vendors.calls import Called
from workers.vendors.credentials import Credential
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, VendorError
from workers.vendors.http import Answer, Call, Http
from workers.vendors.reading import Typed, content, is_markup, is_page, page_text, typed, unreadable

Form = Mapping[str, str | Sequence[str]]

_LONGEST = 500


class Anewspring:
    """One aNewSpring environment."""

    def __init__(self, account: AnewspringAccount, now: Callable[[], datetime]) -> None:
        self._http = Http(str(account.base_url).rstrip("/"), account.limits, now)
        self._key = Credential("api_key_file", account.api_key_file)
        self._account, self._names = account, account.parameters

    @property
    def http(self) -> Http:
        """The HTTP layer, for its counts and its breaker's state."""
        return self._http

    def tell(self, told: Callable[[Called], None]) -> None:
        """Have every request told of."""
        self._http.told = told

    async def is_subscribed(self, user: str, course: str) -> bool:
        """Whether a learner has a subscription to a course."""
        return (await self._get(IsSubscribed, "isSubscribed", _target(user=user, course=course))).result

    async def subscriptions(self, user: str, *, statistics: bool = False) -> tuple[Subscription, ...]:
        """All subscriptions of a learner; computing their statistics takes aNewSpring a while."""
        target = _target(user=user).but(skipStats=_flag(not statistics))
        return (await self._get(Subscriptions, "getSubscriptions", target)).courses

    async def results(self, user: str) -> tuple[Result, ...]:
        """A learner's results in every course."""
        return (await self._get(Results, "getResults", _target(user=user))).courses

    async def result(self, user: str, course: str) -> Result:
        """A learner's result in one course."""
        return await self._get(Result, "getResults", _target(user=user, course=course))

    async def activity_result(self, user: str, course: str, activity: str) -> Activity:
        """A learner's result on one activity, named by its external id; it may come bare or inside its course."""
        return (await self._get(ActivityAnswer, "getResults", _target(user=user, course=course, activity=activity))).root

    async def subscribe(self, user: str, course: str, *, start: Change = None, expire: Change = None) -> None:
        """Subscribe a learner to a course; raises Conflict if that is so already, or cannot be."""
        await self._post("subscribe", _target(user=user, course=course), {**self._account.subscribe_with, **self._dates(start, expire)})

    async def subscribe_groups(self, course: str, groups: Iterable[str], *, start: Change = None, expire: Change = None) -> None:
        """Subscribe learner groups, named by their external ids, to a course."""
        form = {**self._account.subscribe_with, **self._dates(start, expire), "groupID": list(groups)}
        await self._post("subscribeGroups", _target(course=course), form)

    async def update_subscription(
        self, user: str, course: str, *, start: Change = None, expire: Change = None, expired: bool | None = None
    ) -> None:
        """Change a subscription's dates, or end it as expired."""
        form = self._dates(start, expire) | ({} if expired is None else {self._names.expired: _flag(expired)})
        await self._post("updateSubscription", _target(user=user, course=course), form)

    async def unsubscribe(self, user: str, course: str) -> None:
        """End a learner's subscription to a course."""
        await self._post("unsubscribe", _target(user=user, course=course), {})

    async def score_external_activity(
        self, user: str, course: str, activity: str, *, score: float | None = None, completed: bool | None = None
    ) -> None:
        """Register a learner's score on an external activity."""
        form = {} if score is None else {self._names.score: f"{score:.10g}"}
        form |= {} if completed is None else {self._names.completed: _flag(completed)}
        await self._post("scoreExternalActivity", _target(user=user, course=course, activity=activity), form)

    async def login(self) -> None:
        """See that the API key is taken; nobody has to have the id that is asked for."""
        try:
            await self.subscriptions("muster-check")
        except NotFound:
            return

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _get(self, kind: type[Typed], function: str, target: "_Target") -> Typed:
        headers = {"Accept": "application/json"}
        call = Call("GET", self._path(function, target), params=self._params(target), headers=headers, route=self._path(function))
        return typed(kind, call, content(call, await self._answered(call)))

    async def _post(self, function: str, target: "_Target", form: Form) -> None:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        path, route = self._path(function, target), self._path(function)
        call = Call("POST", path, params=self._params(target), form=form, headers=headers, write=True, route=route)
        answer = await self._answered(call)
        if is_page(answer):  # success is an empty body or a message: a page comes from something in between
            raise unreadable(call, f"{answer.status} with an HTML page")

    async def _answered(self, call: Call) -> Answer:
        """The answer of success; a refused key is read again, and the call repeated only if the file now holds another."""
        key = self._key.read()
        answer = await self._sent(call, key)
        if answer.status in (401, 403):
            self._key.forget()
            if key != (key := self._key.read()):
                answer = await self._sent(call, key)
        if not answer.ok:
            raise _error(call, answer, key)
        return answer

    async def _sent(self, call: Call, key: str) -> Answer:
        return await self._http.call(replace(call, headers={**(call.headers or {}), "X-API-Key": key}))

    def _path(self, function: str, target: "_Target | None" = None) -> str:
        return "/".join((f"{self._account.api_path}/{function}", *(quote(step, safe="") for step in (target.steps if target else ()))))

    def _params(self, target: "_Target") -> Mapping[str, str]:
        return {**target.query, **({"_formatErrors": "true"} if self._account.format_errors else {})}

    def _dates(self, start: Change, expire: Change) -> dict[str, str]:
        given = {self._names.start: start, self._names.expire: expire}
        return {name: _day(change) for name, change in given.items() if change is not None}


class _Target(NamedTuple):
    """Whom and what a call is about: external ids as steps of the path, or UIDs in the query."""

    steps: tuple[str, ...] = ()
    query: Mapping[str, str] = MappingProxyType({})

    def but(self, **query: str) -> "_Target":
        return self._replace(query={**self.query, **query})


def _target(**ids: str) -> _Target:
    """Raises Refused for an id that cannot stand in a path, and for an external id beside a UID."""
    for name, given in ids.items():
        if given in ("", ".", ".."):
            raise Refused(0, (Complaint(f"{name}ID", "cannot be an id"),))
    named = {name: given for name, given in ids.items() if name != "activity"}
    uids = [isinstance(given, Uid) for given in named.values()]
    if not any(uids):
        return _Target(steps=tuple(ids.values()))
    if not all(uids):
        raise Refused(0, (Complaint(" and ".join(named), "give external ids for all of them, or UIDs"),))
    activity = {"activityID": ids["activity"]} if "activity" in ids else {}
    return _Target(query={f"{name}UID": given for name, given in named.items()} | activity)


def _error(call: Call, answer: Answer, key: str) -> VendorError:
    """What a refusal means, in the vendor's words; the key stays out of them, should they repeat it."""
    if answer.status in (404, 409) and is_page(answer):
        # The API says in plain text, or in JSON, what is not there: a page is some server's before it, and says nothing of the API's.
        return unreadable(call, f"{answer.status} with an HTML page")
    text, named = _words(answer)
    text = (text.replace(key, "[key]") if key else text)[:_LONGEST]
    if answer.status == 404:
        return NotFound(f"{call.name}: {text}")
    if answer.status == 409:
        return Conflict(f"{call.name}: {text}")
    return Refused(answer.status, (Complaint(named or _subject(text), text),) if text else ())


def _words(answer: Answer) -> tuple[str, str | None]:
    """What an error says, and the field if it names one beside it."""
    if is_markup(answer):
        return page_text(answer.text), None
    try:
        said = jiter.from_json(answer.body)
    except ValueError:
        return " ".join(answer.text.split()), None
    field = said.get("field") if isinstance(said, dict) else None
    return _described(said) or answer.text, str(field) if field else None


def _described(said: Any) -> str | None:
    """The message of a formatted error, whose shape aNewSpring does not publish: the likeliest names, at any depth."""
    if isinstance(said, dict):
        likely = [said[name] for name in ("message", "error", "description", "errors", "result") if said.get(name)]
        return next((text for one in likely if (text := _described(one))), None)
    if isinstance(said, list):
        return "; ".join(filter(None, map(_described, said))) or None
    return said if isinstance(said, str) else None


def _subject(text: str) -> str | None:
    """The field in «FIELD does not contain an ISO8601 date value: VALUE»."""
    subject, marker, _ = text.partition(" does not contain ")
    return subject if marker and subject.isidentifier() else None


def _flag(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"


def _day(change: date | str) -> str:
    return change.isoformat()[:10] if isinstance(change, date) else ""
