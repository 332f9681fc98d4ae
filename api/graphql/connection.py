"""Pages of lists, as Relay's connections are: edges with a cursor each, the nodes alone, and where the page lies in the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import strawberry

from api.cursor import read_cursor, write_cursor
from api.graphql.context import described, of
from ringwatch.errors import BadInput

T = TypeVar("T")
X = TypeVar("X")
Place = tuple[int, str]


@strawberry.type(description="Where a page lies in its list")
class PageInfo:
    has_next_page: bool = of("Whether there is more behind it")
    has_previous_page: bool = of("Whether it was asked for with `after`")
    start_cursor: str | None = of("Of its first item; null where it has none")
    end_cursor: str | None = of(
        "`after` of the next page; null where there is neither an item nor a next page. Where much was looked at and little of it fitted "
        "the filter, it lies behind the last item"
    )


@strawberry.type(description="An item of a page")
class Edge(Generic[T]):
    cursor: str = of("`after` to go on behind this item")
    node: T = of("The item")


@strawberry.type(description="A page of a list")
class Connection(Generic[T]):
    items: strawberry.Private[Sequence[Any]]
    places: strawberry.Private[Sequence[Place]]
    more: strawberry.Private[Place | None]
    """Where the next page begins; None at the end of the list."""
    began: strawberry.Private[bool]
    question: strawberry.Private[object]

    @described("Its items, each with its cursor")
    def edges(self) -> list[Edge[T]]:
        return [
            Edge(cursor=self._cursor(place), node=item) for place, item in zip(self.places, self.items, strict=True)
        ]

    @described("Its items")
    def nodes(self) -> list[T]:
        return list(self.items)

    @described("Whether there is more, and how to go on")
    def page_info(self) -> PageInfo:
        last = self.more or (self.places[-1] if self.places else None)
        return PageInfo(
            has_next_page=self.more is not None, has_previous_page=self.began,
            start_cursor=self._cursor(self.places[0]) if self.places else None,
            end_cursor=None if last is None else self._cursor(last),
        )  # fmt: skip

    def _cursor(self, place: Place) -> str:
        return write_cursor(place, self.question) or ""


def connection(
    found: Sequence[X],
    made: Callable[[X], T],
    place: Callable[[X], Place],
    *,
    after: str | None,
    question: object,
    more: Place | None,
) -> Connection[T]:
    """`found`: the page; `question`: what its cursors belong to; `more`: where the next page begins, None at the end."""
    return Connection(
        items=[made(x) for x in found], places=[place(x) for x in found], more=more, began=bool(after), question=question
    )  # fmt: skip


def page(
    found: Sequence[X],
    made: Callable[[X], T],
    place: Callable[[X], Place],
    *,
    first: int,
    after: str | None,
    question: object,
) -> Connection[T]:
    """Of a list of which one item more than the page has was read, where there is one."""
    shown = found[:first]
    more = place(shown[-1]) if len(found) > first else None
    return connection(shown, made, place, after=after, question=question, more=more)


def by_value(value: float, id_: str) -> Place:
    """The place of an item in a list that is ordered by a number."""
    return 0, f"{float(value).hex()} {id_}"


def read_by_value(after: str | None, question: object) -> tuple[float, str] | None:
    """Raises BadInput."""
    place = read_cursor(after, question)
    if place is None:
        return None
    value, _, id_ = place[1].partition(" ")
    try:
        return float.fromhex(value), id_
    except ValueError:
        raise BadInput("after is not a cursor", hint="take it from the page before", field="after") from None
