"""Kare: training exercises and their attendance (interventions v2, interventions-users v1; the document of the PATCH is the seed).

Two tokens go with every request, each from its file. Every call raises the errors of `workers.vendors.errors`. Kare publishes no
webhook, no error body and no names of paging parameters: errors are read as they come, paging is a setting.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import jiter
from pydantic import TypeAdapter, ValidationError

from schemas.accounts import KareAccount
from schemas.kare import LARGEST, Attendance, Attendances, ExerciseUpdate, Intervention, Interventions, OneIntervention, Paged, Row
from workers.vendors.calls import Called
from workers.vendors.credentials import Credential
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, VendorError
from workers.vendors.http import Answer, Call, Http
from workers.vendors.reading import Typed, content, is_markup, page_text, typed

Filters = Mapping[str, str]

_UPDATE = TypeAdapter(ExerciseUpdate)
_SHOWN = 500


class Kare:
    """One Kare account."""

    def __init__(self, account: KareAccount, now: Callable[[], datetime]) -> None:
        self._http = Http(str(account.base_url).rstrip("/"), account.limits, now)
        self._token = Credential("token_file", account.token_file)
        self._session = Credential("session_token_file", account.session_token_file)
        self._paging = account.paging

    @property
    def http(self) -> Http:
        """The HTTP layer, for its counts and its breaker's state."""
        return self._http

    def tell(self, told: Callable[[Called], None]) -> None:
        """Have every request told of."""
        self._http.told = told

    async def update(self, exercise: int, changes: ExerciseUpdate) -> Intervention:
        """Change a training exercise; raises Refused, naming the field, for what the document does not allow, before it is sent."""
        path = "/interventions/v2/rs/training-exercise"
        call = Call("PATCH", f"{path}/{_id(exercise)}", json=_checked(changes), write=True, route=path)
        return (await self._typed(OneIntervention, call)).data

    async def view(self, intervention: int) -> Intervention:
        """One exercise; raises NotFound."""
        call = Call("GET", f"/interventions/v2/rs/{_id(intervention)}", route="/interventions/v2/rs/{id}")
        return (await self._typed(OneIntervention, call)).data

    async def interventions(self, filters: Filters | None = None) -> AsyncIterator[tuple[Intervention, ...]]:
        """Every exercise, page by page; `filters` are sent as they are."""
        async for page in self._pages(Interventions, "/interventions/v2/rs", filters or {}):
            yield page

    async def attendance(self, filters: Filters | None = None) -> AsyncIterator[tuple[Attendance, ...]]:
        """Who was at which exercise, page by page; `filters` are sent as they are."""
        async for page in self._pages(Attendances, "/interventions-users/v1/rs", filters or {}):
            yield page

    async def login(self) -> None:
        """See that both tokens are taken."""
        await self._typed(Interventions, Call("GET", "/interventions/v2/rs", params=self._page(self._paging.first, {}, rows=1)))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _pages(self, kind: type[Paged[Row]], path: str, filters: Filters) -> AsyncIterator[tuple[Row, ...]]:
        number, before = self._paging.first, frozenset[Any]()
        while True:
            rows = (await self._typed(kind, Call("GET", path, params=self._page(number, filters)))).data
            if before.issuperset(rows):  # none, or the same again
                return
            yield tuple(row for row in rows if row not in before)
            if not self._paging.page:
                return
            number, before = number + 1, frozenset(rows)

    def _page(self, number: int, filters: Filters, rows: int | None = None) -> Filters:
        asked = {self._paging.page: str(number), self._paging.size: str(rows or self._paging.rows)}
        return {**filters, **{name: value for name, value in asked.items() if name}}

    async def _typed(self, kind: type[Typed], call: Call) -> Typed:
        return typed(kind, call, content(call, await self._answered(call)))

    async def _answered(self, call: Call) -> Answer:
        """The answer of success; refused tokens are read again, and the call repeated only if a file now holds another."""
        tokens = self._token.read(), self._session.read()
        answer = await self._sent(call, *tokens)
        if answer.status in (401, 403):
            self._token.forget()
            self._session.forget()
            if tokens != (tokens := (self._token.read(), self._session.read())):
                answer = await self._sent(call, *tokens)
        if not answer.ok:
            raise _error(call, answer, tokens)
        return answer

    async def _sent(self, call: Call, token: str, session: str) -> Answer:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return await self._http.call(replace(call, headers={**headers, "Authorization": f"Bearer {token}", "x-session-token": session}))


def _id(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > LARGEST:
        raise Refused(0, (Complaint("interventionId", f"must be a whole number within ±{LARGEST}"),))
    return number


def _checked(changes: ExerciseUpdate) -> Mapping[str, Any]:
    """The changes as JSON; raises Refused with every field that the document does not allow."""
    try:
        return dict(_UPDATE.validate_python(changes))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        wrong = {str(one["loc"][0]) if one["loc"] else None: one["msg"].removeprefix("Value error, ") for one in reversed(found)}
        raise Refused(0, tuple(Complaint(field, message) for field, message in reversed(wrong.items()))) from None


def _error(call: Call, answer: Answer, hidden: tuple[str, ...]) -> VendorError:
    """What a refusal means; `hidden` stays out of the vendor's words, should they repeat it."""
    complaints = tuple(Complaint(field, _without(hidden, message)[:_SHOWN]) for field, message in _complaints(answer) if message)
    if answer.status == 404:
        return NotFound(call.name)
    if answer.status == 409:
        return Conflict(f"{call.name}: {'; '.join(map(str, complaints))}")
    return Refused(answer.status, complaints)


def _without(hidden: tuple[str, ...], text: str) -> str:
    for one in filter(None, hidden):
        text = text.replace(one, "[hidden]")
    return text


def _complaints(answer: Answer) -> Iterator[tuple[str | None, str]]:
    """(field, message) of an error whose shape nobody publishes: a message, a list of issues with paths, or text."""
    if is_markup(answer):
        yield None, page_text(answer.text)
        return
    try:
        said = jiter.from_json(answer.body)
    except ValueError:
        yield None, " ".join(answer.text.split())
        return
    yield from _described(said)


def _described(said: Any) -> Iterator[tuple[str | None, str]]:
    if isinstance(said, str):
        yield None, said
    elif isinstance(said, list):
        for one in said:
            yield from _described(one)
    elif isinstance(said, dict):
        inner = next((said[name] for name in ("errors", "issues", "details", "error") if said.get(name)), None)
        if isinstance(said.get("message"), str) and not isinstance(inner, list):
            yield _place(said.get("path", said.get("field"))), said["message"]
        else:
            yield from _described(inner)


def _place(path: Any) -> str | None:
    steps = path if isinstance(path, list) else [path]
    return ".".join(str(step) for step in steps if step is not None) or None
