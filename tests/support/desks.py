"""What any desk must hold, on whatever database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from sqlalchemy import text

from desk.chain import Head, Key
from desk.store import Act, Desk

KEY = Key(bytes(range(32)))


def act(n: int, tenant: str = "acme") -> Act:
    return Act(
        tenant, "anna", "case.note", "case", f"c-{n % 3}", {"n": n - 1}, {"n": n, "text": "früher"}, f"because {n}"
    )


def clock() -> Callable[[], int]:
    ticks = count(1_000_000)
    return lambda: next(ticks)


def sql(desk: Desk, statement: str) -> None:
    """As somebody who may write to the database."""
    with desk._engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount > 0


CHANGES = {
    "who": (
        "UPDATE audit SET who = 'ben' WHERE number = 3 AND tenant = 'acme'",
        "entry 3 (case.note case c-0) was changed",
    ),
    "what was": (
        "UPDATE audit SET old = '' WHERE number = 2 AND tenant = 'acme'",
        "entry 2 (case.note case c-2) was changed",
    ),
    "when": ("UPDATE audit SET at_us = at_us + 1 WHERE number = 5 AND tenant = 'acme'", "entry 5"),
    "taken out": ("DELETE FROM audit WHERE number = 4 AND tenant = 'acme'", "entry 4 is missing"),
    "several": ("DELETE FROM audit WHERE number IN (2, 3) AND tenant = 'acme'", "entries 2 to 3 are missing"),
    "the first": ("DELETE FROM audit WHERE number = 1 AND tenant = 'acme'", "entry 1 is missing"),
    "the newest": (
        "DELETE FROM audit WHERE number = 6 AND tenant = 'acme'",
        "the chain ends at entry 5, its head says 6",
    ),
    "a tenant's": (
        "UPDATE audit SET tenant = 'other', number = 9 WHERE number = 6 AND tenant = 'acme'",
        "ends at entry 5",
    ),
    "the head": ("UPDATE audit_heads SET number = 5 WHERE tenant = 'acme'", "the head of the chain was changed"),
    "no head": ("DELETE FROM audit_heads WHERE tenant = 'acme'", "the head of the chain is missing"),
    "all": ("DELETE FROM audit WHERE tenant = 'acme'", "the chain ends at entry 0, its head says 6"),
}


def holds(desk: Desk) -> None:
    """What was done is told as it was done, and what is written together is there together or not at all."""
    for n in range(1, 7):
        desk.record(act(n))
    desk.record(act(1, "other"))
    entries = desk.entries("acme", limit=10)
    assert [e.number for e in entries] == [6, 5, 4, 3, 2, 1]
    assert (entries[0].who, entries[0].target, entries[0].new, entries[0].why) == (
        "anna",
        "c-0",
        '{"n":6,"text":"früher"}',
        "because 6",
    )
    assert [e.number for e in desk.entries("acme", limit=2, before=5)] == [4, 3]
    assert [e.number for e in desk.entries("acme", limit=9, kind="case", target="c-1")] == [4, 1]
    assert desk.entries("nobody", limit=5) == []
    with pytest.raises(ZeroDivisionError):
        _failing(desk)
    assert desk.head("acme").number == 6
    assert desk.tenants() == ["acme", "other"]
    for tenant, n in (("acme", 6), ("other", 1), ("nobody", 0)):
        checked = desk.verify(tenant)
        assert (checked.entries, checked.troubles, checked.head) == (n, (), str(desk.head(tenant)))


def _failing(desk: Desk) -> None:
    with desk.writing() as connection:
        desk.append(connection, act(7))
        _ = 1 // 0


def finds(desk: Desk, what: str) -> None:
    for n in range(1, 7):
        desk.record(act(n))
    noted = desk.head("acme")
    statement, wanted = CHANGES[what]
    sql(desk, statement)
    troubles = desk.verify("acme").troubles
    assert any(wanted in trouble for trouble in troubles), troubles
    assert desk.verify("acme", noted).troubles


def finds_that_the_newest_are_gone(desk: Desk) -> None:
    """Where somebody puts back an older state, head and all."""
    desk.record(act(1), act(2))
    with desk._engine.connect() as connection:
        number, hash_, seal = connection.execute(text("SELECT number, hash, seal FROM audit_heads")).one()
    desk.record(act(3))
    noted = desk.head("acme")
    sql(desk, "DELETE FROM audit WHERE number = 3")
    sql(desk, f"UPDATE audit_heads SET number = {number}, hash = '{hash_}', seal = '{seal}'")
    assert desk.verify("acme").troubles == ()
    assert desk.verify("acme", noted).troubles == ("entry 3, which was noted, is missing",)
    assert desk.verify("acme", Head("acme", 2, "0" * 64)).troubles == ("entry 2 is not the one that was noted",)


def one_chain_of_many_writers(opened: Callable[[], Desk]) -> None:
    desks = [opened() for _ in range(4)]

    def write(k: int) -> None:
        for n in range(25):
            desks[k % 4].record(act(n, f"t{k % 2}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    for tenant in ("t0", "t1"):
        checked = desks[0].verify(tenant)
        assert (checked.entries, checked.troubles) == (100, ())
