"""4HSE's resources: index, view, create, update, delete, as its documents give them (seeds "ActionSubscription",
"ActionSessionSubscription"; dev.4hse.com/api for the others).
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from schemas.accounts import FourhseAccount
from schemas.fourhse import fits
from workers.vendors.calls import Called
from workers.vendors.errors import Complaint, NotFound, Refused, UnknownOutcome
from workers.vendors.fourhse.login import authorization
from workers.vendors.fourhse.refusals import refusal
from workers.vendors.fourhse.shapes import SHAPES, Shape
from workers.vendors.http import Answer, Call, Http, Method
from workers.vendors.reading import content, is_page, unreadable

Row = Mapping[str, Any]
#: An entity's id, or where its kind has one (`Shape.key`), its key: a person's code and project_id.
Id = str | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of an index, with what 4HSE's X-Pagination headers say, None where they are missing; it may change while one reads."""

    rows: tuple[Row, ...]
    number: int
    count: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delete would take with it, as the vendor tells; nothing was deleted."""

    affected: Any


@dataclass(frozen=True, slots=True)
class Deleted:
    """The entity, and all that belonged to it, is gone."""

    id: Id


class Fourhse:
    """One 4HSE account."""

    def __init__(self, account: FourhseAccount, now: Callable[[], datetime]) -> None:
        self._http = Http(str(account.base_url).rstrip("/"), account.limits, now)
        token_url = urlsplit(str(account.login.token_url)) if account.login else None
        self._token_http = Http(f"{token_url.scheme}://{token_url.netloc}", account.limits, now) if token_url else None
        self._authorization = authorization(account, self._token_http)
        self._page_size = account.page_size
        self.resources = {name: Resource(shape, self) for name, shape in SHAPES.items()}

    @property
    def http(self) -> Http:
        """The HTTP layer, for its counts and its breaker's state."""
        return self._http

    def tell(self, told: Callable[[Called], None]) -> None:
        """Have every request told of, those for a token included."""
        for http in filter(None, (self._http, self._token_http)):
            http.told = told

    @property
    def page_size(self) -> int:
        """Rows asked for on a page."""
        return self._page_size

    async def call(self, call: Call) -> Answer:
        """Send a call as this account; on 401 once more with a new credential. Raises the errors of `Http.call`."""
        signed = await self._authorization.sign(call)
        answer = await self._http.call(signed)
        if answer.status == 401:
            await self._authorization.refused(signed)
            answer = await self._http.call(await self._authorization.sign(call))
        if answer.ok and is_page(answer):
            raise unreadable(call, f"{answer.status} with a page for people")
        return answer

    async def login(self) -> None:
        """Ask for as little as there is, to see that the account is let in."""
        await self.resources["action"].page(1, per_page=1)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
        if self._token_http:
            await self._token_http.close()


class Resource:
    """One kind of entity. Every operation raises the errors of `workers.vendors.errors`."""

    def __init__(self, shape: Shape, client: Fourhse) -> None:
        self.shape, self._client = shape, client

    async def page(
        self,
        number: int,
        *,
        filter: Row | None = None,  # noqa: A002 - the vendor's own name
        sort: str | None = None,
        history: bool = False,
        per_page: int | None = None,
    ) -> Page:
        """One page of the index, from 1. `sort` names a field, with `-` in front for descending; `history` includes historicized rows."""
        body: dict[str, Any] = {"filter": dict(filter or {}), "per-page": per_page or self._client.page_size, "page": number}
        body |= {"sort": sort} if sort else {}
        body |= {"history": True} if history and self.shape.history else {}
        call = Call("POST", f"/v2/{self.shape.path}/index", json=body)
        answer = await self._answer(call, about_one=False)
        # Of a key that stands twice in a row the last counts, here as in the database: no second reader could see it otherwise.
        rows = content(call, answer, unique_keys=False)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise unreadable(call, "not a list of objects")
        return Page(tuple(rows), _header(answer, "current-page") or number, _header(answer, "page-count"), _header(answer, "total-count"))

    async def index(
        self,
        *,
        filter: Row | None = None,  # noqa: A002 - the vendor's own name
        sort: str | None = None,
        history: bool = False,
    ) -> AsyncGenerator[Page, None]:
        """Every page, one at a time, until the vendor says that it was the last; where it does not say, until nothing new comes."""
        number, before = 0, None
        while True:
            number += 1
            page = await self.page(number, filter=filter, sort=sort, history=history)
            # Yii2 answers a page beyond the last with the last one again.
            if page.count is None and (not page.rows or page.rows == before):
                return
            yield page
            if page.count is not None and number >= page.count:
                return
            before = page.rows

    async def view(self, id: Id) -> Row:  # noqa: A002
        """One entity; raises NotFound."""
        return await self._row(self._about("GET", "view", id), about_one=True)

    async def create(self, fields: Row) -> Row:
        """Create an entity under an id of ours, so that a repeated create is recognised; raises Conflict if it is there already.

        Where the caller gives no id, the message of an UnknownOutcome tells the one to look for.
        """
        own = {name: value for name, value in fields.items() if name not in self.shape.computed}
        own[self.shape.id] = own.get(self.shape.id) or str(uuid4())
        self._complete(own, self.shape.required)
        await self._check_fit(own)
        try:
            return await self._row(Call("POST", f"/v2/{self.shape.path}/create", json=own, write=True), about_one=False)
        except UnknownOutcome as error:
            raise UnknownOutcome(f"{error}; {self.shape.id} {own[self.shape.id]}") from None

    async def upsert(self, fields: Row) -> Row:
        """Create an entity, or change the one with the same key; under whichever id, so none is sent. Doing it twice does no harm."""
        own = {name: value for name, value in fields.items() if name not in self.shape.computed}
        self._complete(own, (*self.shape.required, *self._key()))
        body = own | {"unique_code": True}
        return await self._row(Call("POST", f"/v2/{self.shape.path}/create", json=body, write=True), about_one=False)

    async def update(self, id: Id, fields: Row) -> Row:  # noqa: A002
        """Change fields. The ids that the schema requires beside them are looked up where they are not given; raises NotFound."""
        own = {name: value for name, value in fields.items() if name not in self.shape.computed}
        if self._missing(own, self.shape.required):
            current = await self.view(id)
            own = {name: current.get(name) for name in self.shape.required} | own
        self._complete(own, self.shape.required)
        return await self._row(self._about("PUT", "update", id, json=own, write=True), about_one=True)

    async def preview_delete(self, id: Id) -> Preview:  # noqa: A002
        """What a delete would take with it; deletes nothing. Raises NotFound."""
        call = self._about("DELETE", "delete", id, {"force": "false"})
        answer = await self._answer(call, about_one=True)
        return Preview(content(call, answer) if answer.body.strip() else None)

    async def delete(self, id: Id) -> Deleted:  # noqa: A002
        """Delete the entity and all that belongs to it; raises NotFound."""
        await self._answer(self._about("DELETE", "delete", id, {"force": "true"}, write=True), about_one=True)
        return Deleted(id)

    async def historicize(self, id: Id) -> None:  # noqa: A002
        """Make an entity inactive instead of deleting it; raises NotFound. Without `force`: should the rest be ignored, nothing is lost."""
        self._key()
        await self._answer(self._about("DELETE", "delete", id, {"historicize": "true"}, write=True), about_one=True)

    async def _answer(self, call: Call, *, about_one: bool) -> Answer:
        answer = await self._client.call(call)
        if not answer.ok:
            raise refusal(call, answer, self.shape, about_one=about_one)
        return answer

    async def _row(self, call: Call, *, about_one: bool) -> Row:
        row = content(call, await self._answer(call, about_one=about_one))
        if not isinstance(row, dict):
            raise unreadable(call, "not an object")
        return row

    def _about(self, method: Method, verb: str, id: Id, params: Row | None = None, **more: Any) -> Call:  # noqa: A002
        """A call about one entity."""
        path = f"/v2/{self.shape.path}/{verb}"
        if not isinstance(id, str):
            self._complete(id, self._key())
            return Call(method, path, params={name: id[name] for name in self.shape.key} | dict(params or {}), **more)
        if id in ("", ".", ".."):
            raise Refused(0, (Complaint(self.shape.id, "no id"),))
        return Call(method, f"{path}/{quote(id, safe='')}", params=params, route=path, **more)

    def _key(self) -> tuple[str, ...]:
        if not self.shape.key:
            raise Refused(0, (Complaint(self.shape.id, f"4HSE does this with no {self.shape.path}"),))
        return self.shape.key

    def _missing(self, fields: Row, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if fields.get(name) in (None, "")]

    def _complete(self, fields: Row, names: tuple[str, ...]) -> None:
        if missing := self._missing(fields, names):
            raise Refused(0, tuple(Complaint(name, "required, and not given") for name in missing))

    async def _check_fit(self, fields: Row) -> None:
        """Refuse what 4HSE's document forbids before it is sent; the action tells its type."""
        if self.shape.path != "action-subscription":
            return
        try:
            action = await self._client.resources["action"].view(fields["action_id"])
        except NotFound:
            raise Refused(404, (Complaint("action_id", "no such action, or not for this login"),)) from None
        if not fits(action.get("action_type"), fields["subscriber_type"]):
            complaint = f"{fields['subscriber_type']} cannot be subscribed to a {action['action_type']} action"
            raise Refused(0, (Complaint("subscriber_type", complaint),))


def _header(answer: Answer, name: str) -> int | None:
    value = answer.headers.get(f"x-pagination-{name}", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
