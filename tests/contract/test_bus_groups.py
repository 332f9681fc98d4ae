"""Members of a group on a real broker: nothing lost, nothing twice, while they come and go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from support import topics as given
from support.topics import (
    DEADLINE_S,
    PARTITIONS,
    pass_on,
    poll_until,
    read,
    send,
    wait_until,
)

from bus import reading
from bus.clients import BusSettings, consumer
from bus.lag import group_states, topic_states
from bus.reading import Reader
from bus.topics import KEYED, Topics
from bus.transactions import Part, Record, Transactor
from ringwatch.errors import Unavailable

pytestmark = pytest.mark.backends
bus, client, unmade, topics, closing = given.bus, given.client, given.unmade, given.topics, given.closing


class Member(threading.Thread):
    """A scorer that passes events on, in transactions, until told to stop."""

    def __init__(self, bus: BusSettings, topics: Topics, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.bus, self.topics = bus, topics
        self.stopping = threading.Event()
        self.passed = 0
        self.moves: list[tuple[str, list[Part]]] = []
        self.failure: BaseException | None = None
        self.rebalances: dict[str, int] = {}

    def on_assigned(self, parts: list[Part]) -> None:
        self.moves.append(("assigned", parts))

    def on_revoked(self, parts: list[Part]) -> None:
        self.moves.append(("revoked", parts))

    def on_lost(self, parts: list[Part]) -> None:
        self.moves.append(("lost", parts))

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failure = error

    def work(self) -> None:
        transactor = Transactor.of(self.bus, f"{self.topics.prefix}.scorer.{self.name}")
        transactor.start()
        reader = Reader(consumer(self.bus, self.topics.group("scorer")), [self.topics.events], self)
        while not self.stopping.is_set():
            messages = reader.poll(20, 0.1)
            if not messages:
                continue
            try:
                pass_on(transactor, reader, self.topics, [(m.key(), m.value()) for m in messages])
                self.passed += len(messages)
            except Unavailable:  # the group moved on meanwhile
                reader.rewind()
        self.rebalances = reader.rebalances
        reader.close()


def test_members_come_and_go_and_each_event_is_passed_on_once(bus: BusSettings, topics: Topics) -> None:
    first, second = Member(bus, topics, "a"), Member(bus, topics, "b")
    values = [f"e{n}" for n in range(2400)]
    first.start()
    send(bus, topics.events, values[:800])
    wait_until(lambda: first.passed > 100)
    second.start()
    wait_until(lambda: bool(second.moves) or second.failure is not None)
    send(bus, topics.events, values[800:1600])
    wait_until(lambda: second.passed > 100 or second.failure is not None)
    first.stopping.set()
    send(bus, topics.events, values[1600:])
    first.join(DEADLINE_S)
    wait_until(lambda: first.passed + second.passed >= len(values) or second.failure is not None)
    second.stopping.set()
    second.join(DEADLINE_S)
    assert first.failure is None, first.failure
    assert second.failure is None, second.failure
    assert Counter(read(bus, topics.decisions)) == Counter(values)
    moved = [parts for how, parts in first.moves if how == "revoked" and parts]
    assert moved[0] == next(parts for how, parts in second.moves if how == "assigned" and parts)
    assert len(moved[0]) < PARTITIONS, "those that stay were not stopped"
    assert not any(how == "lost" for how, _ in first.moves + second.moves)


def test_a_paused_member_stays_and_reads_nothing(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    short = {"session.timeout.ms": 6000, "max.poll.interval.ms": 6000}
    reader = closing(Reader(consumer(bus, topics.group("x"), more=short), [topics.events]))
    send(bus, topics.events, ["before"])
    assert poll_until(reader, 1) == ["before"]
    reader.pause()
    send(bus, topics.events, ["meanwhile"])
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert reader.poll(10, 0.5) == []
    assert reader.rebalances == {"assigned": 1, "revoked": 0, "lost": 0}
    reader.resume()
    assert poll_until(reader, 1) == ["meanwhile"]


def test_partitions_that_come_to_a_paused_member_are_paused(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    send(bus, topics.events, ["e"])
    reader = closing(Reader(consumer(bus, topics.group("x")), [topics.events]))
    reader.pause()
    until = time.monotonic() + 5
    while time.monotonic() < until and not (reader.parts and time.monotonic() > until - 2):
        assert reader.poll(10, 0.2) == []
    assert len(reader.parts) == PARTITIONS
    reader.resume()
    assert poll_until(reader, 1) == ["e"]


def test_rewound_records_come_again_from_where_they_were_done(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    send(bus, topics.events, [f"e{n}" for n in range(60)])
    reader = closing(Reader(consumer(bus, topics.group("x")), [topics.events]))
    done = poll_until(reader, 20)
    reader.commit()
    ahead = poll_until(reader, 25)
    reader.rewind()
    again = poll_until(reader, 40)
    assert set(ahead) <= set(again)
    assert sorted(done + again) == sorted(f"e{n}" for n in range(60))
    reader.commit()
    reader.close()
    other = closing(Reader(consumer(bus, topics.group("x")), [topics.events]))
    wait_until(lambda: not other.poll(10, 0.1) and bool(other.parts))
    assert other.poll(10, 0.5) == []


def test_a_role_may_begin_where_its_store_says(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    send(bus, topics.alerts, [f"a{n}" for n in range(10)])
    member = Member(bus, topics, "x")
    member.on_assigned = lambda parts: {(topics.alerts, 0): 7}  # type: ignore[method-assign, assignment, misc]
    reader = closing(Reader(consumer(bus, topics.group("x")), [topics.alerts], member))
    assert poll_until(reader, 3) == ["a7", "a8", "a9"]


def test_records_deleted_before_they_were_read_are_told(bus: BusSettings, client: AdminClient, topics: Topics) -> None:
    send(bus, topics.alerts, [f"a{n}" for n in range(10)])
    reader = Reader(consumer(bus, topics.group("x")), [topics.alerts])
    assert len(poll_until(reader, 4)) == 4
    reader.commit()
    reader.close()
    part = TopicPartition(topics.alerts, 0, 7)
    client.delete_records([part])[part].result()
    later = Reader(consumer(bus, topics.group("x")), [topics.alerts])
    assert poll_until(later, 3) == ["a7", "a8", "a9"]
    assert later.skipped == {(topics.alerts, 0): 3}
    later.close()


def test_lag_counts_records_and_ends_at_nothing(
    bus: BusSettings, client: AdminClient, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x")
    transactor.start()
    for n in range(5):
        transactor.write([Record(topics.alerts, b"k", f"{n}.{i}".encode()) for i in range(3)])
    reader = closing(Reader(consumer(bus, topics.group("graph-writer")), [topics.alerts]))
    assert len(poll_until(reader, 2)) == 2
    reader.commit()
    assert reader.lag()[topics.alerts, 0] >= 13
    (group,) = group_states(client, topics)
    assert (group.name, group.members) == (topics.group("graph-writer"), 1)
    assert sum(group.lag[topics.alerts]) >= 13
    assert len(poll_until(reader, 13)) == 13
    assert reader.lag()[topics.alerts, 0] >= 13, "what is in hand is not done"
    reader.commit()
    wait_until(lambda: not reader.poll(10, 0.1) and reader.lag() == {(topics.alerts, 0): 0})
    reader.commit()
    (group,) = group_states(client, topics)
    assert group.lag == {topics.alerts: [0]}
    states = {state.name: state for state in topic_states(client, topics)}
    assert len(states) == len(topics.all())
    assert states[topics.alerts].end[0] >= 15
    assert {len(states[topics.name(kind)].end) for kind in KEYED} == {PARTITIONS}


def test_a_member_that_has_nothing_to_read_stays(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks now and then whether brokers are there, and they are."""
    monkeypatch.setattr(reading, "_QUIET_S", 0.1)
    monkeypatch.setattr(reading, "_DEAF_S", 0.3)
    reader = closing(Reader(consumer(bus, topics.group("x")), [topics.events]))
    wait_until(lambda: bool(reader.poll(1, 0.1) or reader.parts))
    heard, until = reader._heard, time.monotonic() + 2
    while time.monotonic() < until:
        assert reader.poll(1, 0.05) == []
    assert reader._heard > heard + 1, "the brokers were asked, and answered"
    send(bus, topics.events, ["a"])
    assert poll_until(reader, 1) == ["a"]
