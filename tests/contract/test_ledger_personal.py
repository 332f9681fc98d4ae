"""Personal fields in a ledger, on SQLite and on PostgreSQL: sealed, read by everybody who may, erased."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import text
from support.ledgers import fresh_database, scored

from features.schema import FeatureSchema
from ingest.redelivery import body_hash
from ledger.entity_queries import EventFilter
from ledger.erasure import NO_BODY
from ledger.personal import ERASED, FIELDS, MasterKey, decode_event, erased, is_personal
from ledger.queries import LedgerQueries
from ledger.store import LedgerWrite
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, Event
from scorers.decision import Decisions

SCHEMA = FeatureSchema()
MASTER = MasterKey(b"m" * 32)
AGENT = "Agent/9.1 of nobody else"
Open = Callable[..., LedgerQueries]


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    found = scored(400)
    return with_events(found, [with_personal(e, i) for i, e in enumerate(found.events)])


def with_personal(event: Event, i: int) -> Event:
    return msgspec.structs.replace(event, user_agent=AGENT, order_id=f"order-{i}", attributes={"n": i, "x": "y"})


def with_events(decisions: Decisions, events: list[Event]) -> Decisions:
    return replace(decisions, events=events)


def renamed(decisions: Decisions, prefix: str, seq: int) -> Decisions:
    events = [msgspec.structs.replace(e, event_id=f"{prefix}{e.event_id}") for e in decisions.events]
    return replace(decisions, events=events, seq=seq + np.arange(len(events)))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as found:
        yield found


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Opens the ledger, as so many processes would."""
    every: list[LedgerQueries] = []

    def open_ledger(master: MasterKey | None = MASTER, *, prepared: bool = True) -> LedgerQueries:
        every.append(LedgerQueries(url, SCHEMA, None, master))
        if prepared:
            every[-1].prepare()
        return every[-1]

    yield open_ledger
    for ledger in every:
        ledger.close()


def busiest(decisions: Decisions) -> str:
    users = [e.user for e in decisions.events if e.user is not None]
    return max(sorted(set(users)), key=users.count)


def stored(ledger: LedgerQueries) -> list[Event]:
    """As they are in the table."""
    with ledger._engine.connect() as connection:
        return [decode_event(body) for body in connection.scalars(text("SELECT event FROM assessments ORDER BY seq"))]


def told(ledger: LedgerQueries) -> list[Event]:
    """By a replay, which is what memory is brought back from."""
    return [item for some in ledger.replay(after_seq=-1, chunk=100) for _, item in some if isinstance(item, Event)]


def keys(ledger: LedgerQueries) -> dict[str, bytes]:
    with ledger._engine.connect() as connection:
        found = connection.execute(text("SELECT subject, wrapped FROM personal_keys WHERE tenant <> ''"))
        return {subject: bytes(wrapped) for subject, wrapped in found}


def test_every_read_gives_what_was_written(opened: Open, decisions: Decisions) -> None:
    ledger = opened()
    ledger.write(LedgerWrite(decisions))
    reader = opened(prepared=False)
    want = {e.event_id: e for e in decisions.events}
    assert not any(is_personal(e) for e in stored(reader))
    assert told(reader) == decisions.events
    assert {i: s.event for i, s in reader.assessments("default", list(want)).items()} == want
    assert [s.event for some in reader.iterate(chunk=70) for _, s in some] == decisions.events
    assert [s.body_hash for some in reader.iterate() for _, s in some] == [body_hash(e) for e in decisions.events]
    user = busiest(decisions)
    page, _ = reader.timeline("default", "user", user, EventFilter(), limit=500, after=None)
    assert sorted(x.event.event_id for x in page) == sorted(i for i, e in want.items() if e.user == user)
    assert all(x.event == want[x.event.event_id] for x in page)
    first_us = min(e.at_us for e in decisions.events if e.user == user)
    near = reader.events_of_users("default", [user], since_us=first_us, until_us=first_us + 40 * DAY_US, limit=5)
    assert [e == want[e.event_id] for e in near] == [True] * 5
    assert set(keys(ledger)) == {e.user or "" for e in decisions.events}


def test_a_sealed_ledger_says_what_a_plain_one_says(opened: Open, decisions: Decisions, tmp_path: Path) -> None:
    plain = LedgerQueries(f"sqlite:///{tmp_path / 'plain.sqlite'}", SCHEMA)
    plain.prepare()
    ledger = opened()
    for one in (plain, ledger):
        one.write(LedgerWrite(decisions))
    assert stored(plain) == decisions.events
    assert ledger.logical_digest() == plain.logical_digest()
    plain.close()


def test_what_was_written_plain_stays_readable_beside_what_is_sealed(opened: Open, decisions: Decisions) -> None:
    before = opened(None)
    before.write(LedgerWrite(decisions.select(0, 100)))
    ledger = opened()
    ledger.write(LedgerWrite(decisions.select(100, 200)))
    assert told(ledger) == decisions.events[:200]
    assert [is_personal(e) for e in stored(ledger)] == [True] * 100 + [False] * 100


def test_without_the_key_nothing_is_read_or_written_beside(opened: Open, decisions: Decisions) -> None:
    opened().write(LedgerWrite(decisions.select(0, 10)))
    keyless = opened(None)
    with pytest.raises(BadInput, match="no personal key"):
        told(keyless)
    with pytest.raises(BadInput, match="no personal key"):
        keyless.write(LedgerWrite(decisions.select(10, 20)))
    assert keyless.counts()["assessments"] == 10


def test_another_master_key_is_told_at_the_start(opened: Open, decisions: Decisions) -> None:
    opened().write(LedgerWrite(decisions.select(0, 10)))
    with pytest.raises(BadInput, match="not the one"):
        opened(MasterKey(b"n" * 32))
    with pytest.raises(BadInput, match="not the one"):
        told(opened(MasterKey(b"n" * 32), prepared=False))


def test_erased_is_missing_for_everybody_at_once(opened: Open, decisions: Decisions) -> None:
    writer, reader = opened(), opened()
    writer.write(LedgerWrite(decisions))
    assert told(reader) == decisions.events
    user = busiest(decisions)
    mine = sum(e.user == user for e in decisions.events)
    eraser = opened().eraser()
    assert eraser.knows(("default", user))
    assert not eraser.knows(("default", "nobody"))
    assert not eraser.knows(("globex", user))
    assert eraser.destroy_key(("default", user))
    after = [erased(e) if e.user == user else e for e in decisions.events]
    assert told(reader) == told(writer) == after, "without another word to who had read the key before"
    assert eraser.clear_events(("default", user)) == mine
    assert told(reader) == after
    of_user = reader.assessments("default", [e.event_id for e in after if e.user == user])
    assert {s.assessment.degraded[-1] for s in of_user.values()} == {ERASED}
    assert {s.body_hash for s in of_user.values()} == {NO_BODY}
    assert not eraser.destroy_key(("default", user))
    assert user not in keys(reader)
    eraser.wipe()


def test_who_comes_back_has_another_key(opened: Open, decisions: Decisions) -> None:
    """Also with a writer that knew the one from before."""
    writer, eraser = opened(), opened().eraser()
    user = busiest(decisions)
    mine = with_events(
        decisions, [msgspec.structs.replace(e, entities={**e.entities, "user": user}) for e in decisions.events]
    )
    writer.write(LedgerWrite(mine.select(0, 50)))
    first = keys(writer)
    eraser.destroy_key(("default", user))
    writer.write(LedgerWrite(mine.select(50, 100)))
    assert keys(writer).keys() == first.keys() == {user}
    assert keys(writer) != first
    for ledger in (writer, opened()):
        assert told(ledger) == [*map(erased, mine.events[:50]), *mine.events[50:100]]


def test_what_was_plain_is_cleared_too(opened: Open, decisions: Decisions) -> None:
    ledger = opened(None)
    ledger.write(LedgerWrite(decisions))
    user = busiest(decisions)
    eraser = ledger.eraser()
    assert not eraser.destroy_key(("default", user))
    assert eraser.clear_events(("default", user)) > 10
    assert stored(ledger) == [erased(e) if e.user == user else e for e in decisions.events]
    assert [f for f in FIELDS if getattr(stored(ledger)[0], f) is not None] == list(FIELDS)


def test_two_writers_take_one_key(opened: Open, decisions: Decisions) -> None:
    """Of the same users at the same time; nothing of either is lost."""
    some = [decisions.select(i, i + 40) for i in range(0, 360, 40)]
    failed: list[Exception] = []

    def write(ledger: LedgerQueries, prefix: str, seq: int) -> None:
        try:
            for n, piece in enumerate(some):
                ledger.write(LedgerWrite(renamed(piece, prefix, seq + n * 1000)), if_known="leave")
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    ledgers = [opened(), opened()]
    threads = [
        threading.Thread(target=write, args=(ledger, prefix, seq))
        for ledger, prefix, seq in zip(ledgers, "ab", (0, 10**6), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = {e.event_id: e for e in told(opened())}
    want = [
        e for prefix, seq in zip("ab", (0, 10**6), strict=True) for p in some for e in renamed(p, prefix, seq).events
    ]
    assert found == {e.event_id: e for e in want}


def test_erasing_waits_for_who_is_writing(opened: Open, decisions: Decisions) -> None:
    """What is committed after the erasure is not sealed by the key that is gone: it is either erased with it or readable."""
    writer, eraser, user = opened(), opened().eraser(), busiest(decisions)
    stop = threading.Event()
    mine = with_events(decisions, [msgspec.structs.replace(e, entities={"user": user}) for e in decisions.events])

    failed: list[Exception] = []

    def write() -> None:
        try:
            for n in range(0, 200, 8):
                writer.write(LedgerWrite(mine.select(n, n + 8)))
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    times = 0
    while not stop.wait(0.02):
        times += eraser.destroy_key(("default", user))
    thread.join()
    assert failed == []
    assert times > 0
    before = told(opened())
    eraser.destroy_key(("default", user))
    new = renamed(mine.select(0, 5), "new-", 10**6)
    writer.write(LedgerWrite(new))
    assert told(opened())[len(before) :] == new.events
    assert all((ERASED in e.degraded) != is_personal(e) for e in before)
