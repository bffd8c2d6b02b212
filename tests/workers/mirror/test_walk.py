"""A walk through an index whose rows come and go: nothing is left out, and no fetch is left behind."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.made import NOON
from workers.mirror.walk import walk
from workers.vendors.errors import Unavailable
from workers.vendors.fourhse import Page

SIZE = 3


class Vendor:
    """An index with so many rows; `meanwhile` happens before each request."""

    def __init__(self, rows: int, meanwhile: Callable[["Vendor", int], None] = lambda *_: None, *, headers: bool = True) -> None:
        self.rows, self.meanwhile, self.headers = list(range(rows)), meanwhile, headers
        self.asked: list[int] = []
        self.open = 0

    async def fetch(self, number: int) -> tuple[Page, datetime]:
        """A page, as Yii2 answers: one that does not exist is the last one again."""
        self.open += 1
        try:
            await asyncio.sleep(0)
            self.asked.append(number)
            self.meanwhile(self, number)
            count = max(1, -(-len(self.rows) // SIZE))
            shown = min(number, count)
            rows = tuple({"id": row} for row in self.rows[(shown - 1) * SIZE : shown * SIZE])
            return Page(rows, shown, *((count, len(self.rows)) if self.headers else (None, None))), NOON
        finally:
            self.open -= 1


async def walked(vendor: Vendor, number: int = 1, total: int | None = None, at_once: int = 1) -> list[int]:
    """The rows seen."""
    async with aclosing(walk(vendor.fetch, number, total, at_once)) as pages:
        return [row["id"] async for turned in pages for row in turned.page.rows]


@pytest.mark.parametrize("rows", [0, 1, 3, 10])
@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("at_once", [1, 4])
async def test_every_row_is_seen_once(rows: int, at_once: int, *, headers: bool) -> None:
    assert await walked(Vendor(rows, headers=headers), at_once=at_once) == list(range(rows))


async def test_it_begins_at_the_page_that_it_is_told() -> None:
    assert await walked(Vendor(10), number=3) == [6, 7, 8, 9]


async def test_the_next_pages_are_fetched_meanwhile_and_none_beyond_the_last() -> None:
    vendor = Vendor(12)
    async with aclosing(walk(vendor.fetch, 1, None, 3)) as pages:
        await anext(pages)  # tells how many there are
        await anext(pages)

        assert vendor.asked == [1, 2, 3, 4] or vendor.asked == [1, 2, 3]
        assert [one async for one in pages][-1].page.number == 4
    assert sorted(vendor.asked) == [1, 2, 3, 4]


@pytest.mark.parametrize(("gone", "back"), [(1, 2), (3, 2), (4, 1)])
async def test_it_steps_back_over_as_many_pages_as_rows_may_have_moved(gone: int, back: int) -> None:
    def remove(vendor: Vendor, number: int) -> None:
        if vendor.asked == [1, 2, 3]:
            del vendor.rows[:gone]

    vendor = Vendor(20, remove)
    assert set(await walked(vendor)) == set(range(20))
    assert vendor.asked[3] == back


async def test_rows_that_went_while_nobody_walked_are_missed_from_the_total() -> None:
    vendor = Vendor(20)
    del vendor.rows[:3]

    assert set(await walked(vendor, number=4, total=20)) >= set(range(12, 20))
    assert vendor.asked[:2] == [4, 3]


async def test_a_list_that_never_keeps_still_is_walked_to_its_end() -> None:
    def shake(vendor: Vendor, number: int) -> None:
        vendor.rows = vendor.rows[:-1] if len(vendor.asked) % 2 else [*vendor.rows, 1000 + len(vendor.asked)]

    vendor = Vendor(30, shake)
    assert set(await walked(vendor)) >= set(range(28))
    assert len(vendor.asked) < 250


async def test_no_fetch_is_left_behind_by_an_error_or_by_one_who_stops() -> None:
    def fail(vendor: Vendor, number: int) -> None:
        if number == 3:
            raise Unavailable("maintenance")

    vendor = Vendor(30, fail)
    with pytest.raises(Unavailable, match="maintenance"):
        await walked(vendor, at_once=4)
    assert vendor.open == 0
    vendor = Vendor(30)
    async with aclosing(walk(vendor.fetch, 1, None, 4)) as pages:
        await anext(pages)
        await anext(pages)
    assert vendor.open == 0


@settings(max_examples=200)
@given(
    rows=st.integers(0, 25),
    removals=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 24), st.integers(1, 5)), max_size=4),
    at_once=st.integers(1, 4),
)
async def test_rows_that_stay_are_seen_whatever_goes(rows: int, removals: list[tuple[int, int, int]], at_once: int) -> None:
    at = {request: (start, many) for request, start, many in removals}

    def remove(vendor: Vendor, number: int) -> None:
        start, many = at.get(len(vendor.asked), (0, 0))
        del vendor.rows[start : start + many]

    vendor = Vendor(rows, remove)
    seen = await walked(vendor, at_once=at_once)

    assert set(vendor.rows) <= set(seen)
