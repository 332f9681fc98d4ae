"""Block, watch, allow: decided at the desk on SQLite, and what becomes of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import verdicts
from support.desks import KEY, clock

from desk.store import Desk
from ringwatch.errors import BadInput, Unavailable
from ringwatch.model import Event
from scorers.lists import Entry, ListBook, Lists

DAY_US = 86_400_000_000


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Desk]]:
    every: list[Desk] = []

    def open_desk() -> Desk:
        every.append(Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}", KEY, clock()))
        every[-1].prepare()
        return every[-1]

    yield open_desk
    for desk in every:
        desk.close()


def test_decisions_are_listed_recorded_and_undone_as_one(opened: Callable[[], Desk]) -> None:
    verdicts.holds(opened())


def test_what_cannot_be_is_refused_and_leaves_nothing(opened: Callable[[], Desk]) -> None:
    verdicts.refuses(opened())


def test_many_decide_at_once(opened: Callable[[], Desk]) -> None:
    verdicts.many_decide_at_once(opened)


def test_without_the_audit_key_nothing_is_decided(opened: Callable[[], Desk], tmp_path: Path) -> None:
    opened()
    keyless = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}", None, clock())
    with pytest.raises(BadInput, match="no audit key"):
        verdicts.decide(keyless, verdicts.wish(1))
    assert verdicts.newest(keyless) == 0
    keyless.close()


def test_lists_stay_as_they_were_while_the_desk_is_away(opened: Callable[[], Desk], tmp_path: Path) -> None:
    desk, lists = opened(), Lists()
    verdicts.decide(desk, verdicts.wish(1))
    watch = verdicts.ListsWatch(desk, lists, every_s=0.01)
    watch.start()
    there = verdicts.listed(lists)
    assert len(there) == 2
    away = tmp_path / "away"
    for name in ("desk.sqlite", "desk.sqlite-wal", "desk.sqlite-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(away.with_name(f"away.{name}"))
    desk._engine.dispose()
    (tmp_path / "desk.sqlite").mkdir()
    with pytest.raises(Unavailable):
        watch.look()
    assert verdicts.listed(lists) == there
    watch.stop()


def test_a_block_counts_before_a_watch_before_an_allow() -> None:
    entries = [Entry(v, "device", f"d-{v}", "anna", v, tenant="acme") for v in ("allow", "watch", "block")]
    users = [Entry(v, "user", f"u-{v}", "anna", v, tenant="acme") for v in ("allow", "watch", "block")]
    book = ListBook([*entries, *users])
    order = ["allow", "watch", "block"]
    for mine in order:
        for other in order:
            found = book.match(_of(f"u-{mine}", f"d-{other}"))
            assert found is not None
            assert found.verdict == max(mine, other, key=order.index)
    assert ListBook([Entry("block", "user", "u", "a", "r", tenant="other")]).match(_of("u", "d")) is None


def test_an_entry_holds_until_it_expires_in_event_time() -> None:
    book = ListBook([Entry("block", "user", "u", "anna", "why", expires_us=DAY_US)])
    assert book.match(_of("u", "d", at_us=DAY_US - 1)) is not None
    assert book.match(_of("u", "d", at_us=DAY_US)) is None


def _of(user: str, device: str, at_us: int = 0) -> Event:
    return Event("e", "payment", at_us, {"user": user, "device": device}, "acme")


def test_who_uses_a_place_is_looked_up_again_whoever_was_there_before(
    opened: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desk.watch._PLACES_S", 0.0)
    desk, lists, there = opened(), Lists(), set[str]()
    made = verdicts.Wish("acme", "anna", "innocent", ("ip", "campus"), (("ip", "campus"),), "a campus")
    verdicts.decide(desk, made)
    watch = verdicts.ListsWatch(
        desk, lists, users_of=lambda entry: frozenset(there) if entry.kind == "ip" else frozenset()
    )
    watch.look()
    assert [(e.id, e.users) for e in lists.innocent] == [("campus", frozenset())]
    there.update(("u1", "u2"))
    watch.look()
    assert lists.innocent[0].users == {"u1", "u2"}
    assert lists.book.match(_of("u1", "d")) is None, "no event is decided by it"


def test_a_place_whose_users_cannot_be_read_holds_up_no_other_decision(opened: Callable[[], Desk]) -> None:
    desk, lists, there = opened(), Lists(), dict[str, frozenset[str]]()

    def users_of(entry: Entry) -> frozenset[str]:
        if entry.id not in there:
            raise Unavailable("the ledger is away", hint="wait")
        return there[entry.id]

    watch = verdicts.ListsWatch(desk, lists, users_of=users_of)
    for verdict, kind, id_ in (("innocent", "ip", "campus"), ("block", "device", "d1")):
        verdicts.decide(desk, verdicts.Wish("acme", "anna", verdict, (kind, id_), ((kind, id_),), "seen"))
    watch.look()
    lists.refresh()
    assert lists.book.match(_of("u", "d1")) is not None
    assert lists.trouble == "who used a place: the ledger is away"
    there["campus"] = frozenset({"u1", "u2"})
    watch.look()
    assert (lists.innocent[0].users, lists.trouble) == ({"u1", "u2"}, "")


def test_a_decision_asks_for_users_of_no_place_that_are_known(opened: Callable[[], Desk]) -> None:
    desk, lists, asked = opened(), Lists(), list[str]()

    def users_of(entry: Entry) -> frozenset[str]:
        asked.append(entry.id)
        return frozenset({"u1", "u2"})

    watch = verdicts.ListsWatch(desk, lists, users_of=users_of)
    acts = []
    for verdict, id_ in (("innocent", "campus"), ("block", "bad"), ("innocent", "library")):
        acts.append(verdicts.decide(desk, verdicts.Wish("acme", "anna", verdict, ("ip", id_), (("ip", id_),), "seen")))
        watch.look()
    assert asked == ["campus", "library"]
    assert [(e.id, len(e.users)) for e in lists.innocent] == [("campus", 2), ("library", 2)]
    verdicts.undo(desk, "acme", "anna", acts[0].act_id, "a mistake")
    watch.look()
    assert [e.id for e in lists.innocent] == ["library"]
    verdicts.decide(desk, verdicts.Wish("acme", "anna", "innocent", ("ip", "campus"), (("ip", "campus"),), "it is"))
    watch.look()
    assert asked == ["campus", "library", "campus"], "as of now, not as of the verdict that was undone"
