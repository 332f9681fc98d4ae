"""What decisions at the desk must hold, on whatever database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from desk.store import Desk
from desk.verdicts import Decided, Wish, acts, decide, in_force, newest, of_entities, undo
from desk.watch import ListsWatch
from ringwatch.errors import BadInput, Conflict, NotFound
from scorers.lists import Lists


def wish(n: int, verdict: str = "block", tenant: str = "acme") -> Wish:
    return Wish(tenant, "anna", verdict, ("ring", f"r-{n}"), (("user", f"u-{n}"), ("device", "d-1")), f"ring {n}")


def listed(lists: Lists) -> set[tuple[str, str, str, str]]:
    lists.refresh()
    return {(e.tenant or "", e.verdict, e.kind, e.id) for e in lists.book.entries}


def holds(desk: Desk) -> None:
    lists = Lists()
    watch = ListsWatch(desk, lists)
    watch.look()
    first = decide(desk, wish(1))
    second = decide(desk, wish(2, "watch"))
    decide(desk, wish(3, tenant="other"))
    watch.look()
    mine = {("acme", "block", "user", "u-1"), ("acme", "block", "device", "d-1")}
    watched = {("acme", "watch", "user", "u-2"), ("acme", "watch", "device", "d-1")}
    theirs = {("other", "block", "user", "u-3"), ("other", "block", "device", "d-1")}
    assert listed(lists) == mine | watched | theirs
    assert [a.act_id for a in acts(desk, "acme", limit=9)] == [second.act_id, first.act_id]
    assert [a.act_id for a in acts(desk, "acme", limit=9, before=second.number)] == [first.act_id]
    assert of_entities(desk, "acme", [("device", "d-1"), ("user", "u-3")]) == {("device", "d-1"): [first, second]}
    undone = undo(desk, "acme", "ben", first.act_id, "a mistake")
    assert (undone.undone_by, undone.number) == ("ben", 4)
    watch.look()
    assert listed(lists) == watched | theirs
    assert acts(desk, "acme", limit=1) == [undone]
    with pytest.raises(Conflict, match="undone by ben"):
        undo(desk, "acme", "cleo", first.act_id, "again")
    with pytest.raises(NotFound):
        undo(desk, "other", "cleo", second.act_id, "of another tenant")
    trail = desk.entries("acme", limit=9)
    assert [(e.who, e.did, e.target) for e in trail] == [("ben", "undo", "r-1"), ("anna", "watch", "r-2"), ("anna", "block", "r-1")]  # fmt: skip
    assert not desk.verify("acme").troubles


def refuses(desk: Desk) -> None:
    before = newest(desk)
    good = wish(1)
    for wrong, words in (
        (wish(1, "blok"), "verdict is 'blok'"),
        (Wish("acme", "anna", "block", ("user", "u"), (), "why"), "nothing to decide of"),
        (Wish("acme", "anna", "block", ("user", "u"), good.entities, " "), "reason is needed"),
        (Wish("acme", "anna", "block", ("user", "u"), good.entities, "why", until_us=1), "until has passed"),
        (Wish("acme", "anna", "block", ("ip", "i"), tuple(("user", f"u-{n}") for n in range(5001)), "why"), "5,001 entities"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            decide(desk, wrong)
    assert newest(desk) == before
    assert desk.entries("acme", limit=1) == []


def many_decide_at_once(opened: Callable[[], Desk]) -> None:
    """Numbers come in the order of commits: whoever has seen one has seen all before it."""
    desks = [opened() for _ in range(4)]
    seen: list[tuple[int, int]] = []

    def work(k: int) -> list[Decided]:
        made = []
        for n in range(10):
            made.append(decide(desks[k], wish(10 * k + n)))
            number, entries = in_force(desks[k])
            seen.append((number, len(entries)))
        return made

    with ThreadPoolExecutor(4) as pool:
        found = [made for some in pool.map(work, range(4)) for made in some]
    assert sorted(a.number for a in found) == list(range(1, 41))
    assert all(entries >= 2 * number for number, entries in seen)
    assert not desks[0].verify("acme").troubles
