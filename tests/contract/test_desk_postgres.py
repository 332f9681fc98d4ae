"""The audit trail and decisions on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import desks, verdicts
from support.backends import PostgresBackend
from support.desks import CHANGES, KEY, clock
from support.ledgers import fresh_ledger

from desk.store import Desk

pytestmark = pytest.mark.backends


@pytest.fixture
def opened(postgres_server: PostgresBackend) -> Iterator[Callable[[], Desk]]:
    """Opens desks on one database, beside a ledger, as so many processes would."""
    every: list[Desk] = []
    with fresh_ledger(postgres_server) as url:

        def open_desk() -> Desk:
            every.append(Desk(url, KEY, clock()))
            every[-1].prepare()
            return every[-1]

        yield open_desk
        for desk in every:
            desk.close()


def test_the_trail_tells_what_was_done(opened: Callable[[], Desk]) -> None:
    desks.holds(opened())


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_shows(opened: Callable[[], Desk], what: str) -> None:
    desks.finds(opened(), what)


def test_an_older_state_shows_against_a_noted_head(opened: Callable[[], Desk]) -> None:
    desks.finds_that_the_newest_are_gone(opened())


def test_many_writers_make_one_chain(opened: Callable[[], Desk]) -> None:
    desks.one_chain_of_many_writers(opened)


def test_decisions_are_listed_recorded_and_undone_as_one(opened: Callable[[], Desk]) -> None:
    verdicts.holds(opened())


def test_what_cannot_be_decided_is_refused_and_leaves_nothing(opened: Callable[[], Desk]) -> None:
    verdicts.refuses(opened())


def test_many_decide_at_once(opened: Callable[[], Desk]) -> None:
    verdicts.many_decide_at_once(opened)
