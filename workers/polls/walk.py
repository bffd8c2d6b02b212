"""A walk through one of 4HSE's indexes, page by page, and what became of the rows that it does not show.

Pages are numbers and no snapshot, historicized rows leave an index, and so do rows that the login may not see any more: what a
walk does not show is asked for by its id. Only if that is answered with 404, and another row of the same office is still
visible to the same login, it is gone.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from schemas.accounts import zone_of
from schemas.logs import Log
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import NotFound
from workers.vendors.fourhse import Fourhse
from workers.vendors.fourhse.client import Row

log = structlog.get_logger()

Read = TypeVar("Read", bound=BaseModel)


class Walk(Generic[Read]):
    """One walk; what it finds is evidence of the time when each page was asked for."""

    def __init__(self, account: OpenAccount, path: str, shape: type[Read], now: Callable[[], datetime]) -> None:
        assert isinstance(account.client, Fourhse)
        self._account, self._client, self._shape, self._now = account.name, account.client, shape, now
        self._resource = account.client.resources[path]
        self._zone = zone_of(account.settings)
        self.began = now()
        self._rows, self._totals = 0, set[int]()
        #: The ids of rows that cannot be read, and what is wrong with the first.
        self._unreadable: set[str] = set()
        self._wrong: list[str] = []
        #: Offices, and whether a row of theirs is visible to the login.
        self._visible: dict[str | None, bool] = {}

    async def pages(self) -> AsyncIterator[tuple[datetime, list[Read]]]:
        """The rows of every page that can be read, each once, and when the page was asked for."""
        at = self._now()
        async for page in self._resource.index():
            self._rows += len(page.rows)
            self._totals |= set() if page.total is None else {page.total}
            self._visible |= dict.fromkeys((str(row.get("subtenant_id")) for row in page.rows), True)
            read = {self._id(row): self._read(row) for row in page.rows}
            yield at, [row for id in sorted(read) if (row := read[id]) is not None]  # noqa: A001
            at = self._now()
        if self._unreadable:
            path = self._resource.shape.path
            log.warning(Log.ROWS_UNREADABLE, account=self._account, resource=path, rows=len(self._unreadable), wrong=self._wrong)

    @property
    def complete(self) -> bool:
        """Whether all was shown that the vendor counts, and has an id."""
        return self._rows >= min(self._totals, default=0) and "" not in self._unreadable

    async def again(self, unseen: Iterable[tuple[str, str | None]]) -> AsyncIterator[tuple[str, datetime, Read | None]]:
        """What became of rows, by their ids and offices, that a complete walk did not show: (id, asked when, None if it is gone)."""
        for id, office in unseen:  # noqa: A001
            if id not in self._unreadable and await self._sees(office):
                at = self._now()
                try:
                    found = self._read(await self._resource.view(id))
                except NotFound:
                    # Rights that were withdrawn meanwhile hide all of its office.
                    self._visible.pop(office, None)
                    if await self._sees(office):
                        yield id, at, None
                else:
                    if found is not None:
                        yield id, at, found

    def _id(self, row: Row) -> str:
        return str(row.get(self._resource.shape.id) or "")

    def _read(self, row: Row) -> Read | None:
        try:
            return self._shape.model_validate(row, context=self._zone)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            self._wrong = self._wrong or [f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found]
            self._unreadable.add(self._id(row))
            return None

    async def _sees(self, office: str | None) -> bool:
        if office not in self._visible:
            asked = {"subtenant_id": office} if office else {}
            page = await self._client.resources["action-subscription"].page(1, filter=asked, history=True, per_page=1)
            # An index that ignores its filter tells nothing.
            self._visible[office] = any(office in (None, row.get("subtenant_id")) for row in page.rows)
        return self._visible[office]
