"""Transactions on a real broker: all of it or nothing, and one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import TopicPartition
from support import topics as given
from support.topics import (
    DEADLINE_S,
    pass_on,
    poll_until,
    read,
    send,
)

from bus.clients import BusSettings, consumer, producer
from bus.reading import Reader
from bus.topic_log import unended
from bus.topics import Topics
from bus.transactions import Record, Transactor
from ringwatch.errors import BadInput, Conflict, Unavailable

pytestmark = pytest.mark.backends
bus, client, unmade, topics, closing = given.bus, given.client, given.unmade, given.topics, given.closing


def test_what_was_aborted_is_never_read(bus: BusSettings, topics: Topics) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x", turns=1)
    transactor.start()

    def fails() -> Iterator[Record]:
        yield from (Record(topics.decisions, b"k", f"lost{n}".encode()) for n in range(100))
        time.sleep(0.3)  # they have gone out
        raise Unavailable("the state is away")

    with pytest.raises(Unavailable, match="the state is away"):
        transactor.write(fails())
    transactor.write([Record(topics.decisions, b"k", b"kept")])
    assert read(bus, topics.decisions) == ["kept"]
    assert len(read(bus, topics.decisions, committed=False)) > 1, "nothing had gone out"
    assert (transactor.committed, transactor.aborted) == (1, 1)


def test_after_aborts_each_record_is_there_once(
    bus: BusSettings, topics: Topics, closing: Callable[[Reader], Reader]
) -> None:
    values = [f"e{n}" for n in range(300)]
    send(bus, topics.events, values)
    transactor = Transactor.of(bus, f"{topics.prefix}.scorer.0")
    transactor.start()
    reader = closing(Reader(consumer(bus, topics.group("scorer")), [topics.events]))
    done, tries, until = 0, 0, time.monotonic() + DEADLINE_S
    while done < len(values) and time.monotonic() < until:
        messages = reader.poll(20, 0.2)
        if not messages:
            continue
        tries += 1
        try:
            pass_on(transactor, reader, topics, [(m.key(), m.value()) for m in messages], fail=tries % 3 == 0)
        except Unavailable:
            reader.rewind()
            continue
        done += len(messages)
    assert transactor.aborted >= 3
    assert sorted(read(bus, topics.decisions)) == sorted(values)


def test_who_was_replaced_cannot_write(bus: BusSettings, topics: Topics) -> None:
    name = f"{topics.prefix}.scorer.0"
    old, new = Transactor.of(bus, name), Transactor.of(bus, name)
    old.start()
    old.write([Record(topics.decisions, b"k", b"before")])

    def overtaken() -> Iterator[Record]:
        yield Record(topics.decisions, b"k", b"zombie")
        new.start()
        new.write([Record(topics.decisions, b"k", b"after")])

    with pytest.raises(Conflict, match="another process took over"):
        old.write(overtaken())
    assert old.broken
    with pytest.raises(Conflict):
        old.write([Record(topics.decisions, b"k", b"zombie again")])
    new.write([Record(topics.decisions, b"k", b"and on")])
    assert read(bus, topics.decisions) == ["before", "after", "and on"]


def test_what_a_killed_process_left_open_is_aborted_by_its_next_start(bus: BusSettings, topics: Topics) -> None:
    name = f"{topics.prefix}.scorer.0"
    left = producer(bus, transactional_id=f"{name}.0")
    left.init_transactions(10)
    left.begin_transaction()
    left.produce(topics.decisions, b"half", b"k")
    left.flush(5)
    started = time.monotonic()
    following = Transactor.of(bus, name)
    following.start()
    following.write([Record(topics.decisions, b"k", b"whole")])
    assert read(bus, topics.decisions) == ["whole"]
    assert time.monotonic() - started < 8, "its timeout was waited for"


def test_offsets_of_a_member_that_lost_its_place_are_refused(bus: BusSettings, topics: Topics) -> None:
    """The transaction is aborted: who has the partitions now reads the records again."""
    send(bus, topics.events, ["e1"])
    reader = Reader(consumer(bus, topics.group("scorer")), [topics.events])
    assert poll_until(reader, 1) == ["e1"]
    offsets, group = reader.offsets(), reader.group()
    reader.close()
    other = Reader(consumer(bus, topics.group("scorer")), [topics.events])
    assert poll_until(other, 1) == ["e1"]
    transactor = Transactor.of(bus, f"{topics.prefix}.scorer.0")
    transactor.start()
    with pytest.raises(Unavailable, match="offsets cannot join"):
        transactor.write([Record(topics.decisions, b"k", b"e1")], offsets, group)
    assert not transactor.broken
    pass_on(transactor, other, topics, [(b"k", b"e1")])
    other.close()
    assert read(bus, topics.decisions) == ["e1"]


def test_a_message_too_large_is_refused_and_the_next_one_goes_through(bus: BusSettings, topics: Topics) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x")
    transactor.start()
    with pytest.raises(BadInput, match=r"takes no record.*2 MB"):
        transactor.write([Record(topics.decisions, b"k", b"x" * 2_100_000)])
    transactor.write([Record(topics.decisions, b"k", b"small")])
    assert read(bus, topics.decisions) == ["small"]


@pytest.mark.parametrize("aborts", [False, True])
def test_what_holds_readers_back_is_found_and_own_markers_are_written(
    bus: BusSettings, topics: Topics, aborts: bool
) -> None:
    """Somebody else's transaction stays open, as one does that brokers forgot to end; ours go on before and after it is ended."""
    other = Transactor.of(bus, f"{topics.prefix}.other", turns=1)
    other.start()
    producer_of_other = other._producers[0]
    producer_of_other.begin_transaction()
    producer_of_other.produce(topics.decisions, b"open", b"k", 0)
    producer_of_other.flush(10)
    assert unended(bus, [topics.alerts], 0.0) == []
    assert unended(bus, [topics.alerts, topics.decisions], 0.2) == [(topics.decisions, 0)]
    mine = Transactor.of(bus, f"{topics.prefix}.mine", aborted_on=[{(topics.decisions, 0)} if aborts else set(), set()])
    mine.start()
    client = consumer(bus, topics.group("scorer"))
    mine.end_forgotten([(topics.decisions, 0)], client.consumer_group_metadata())
    producer_of_other.commit_transaction(10)
    assert unended(bus, [topics.decisions], 5.0) == []
    mine.write([Record(topics.decisions, b"k", b"after")])
    assert sorted(value for value in read(bus, topics.decisions) if value) == ["after", "open"]
    committed = client.committed([TopicPartition(topics.decisions, 0)], timeout=10)[0]
    assert committed.offset < 0, "the offset of an aborted transaction counts"
    client.close()


def test_what_was_aborted_for_certain_is_known_by_partition(bus: BusSettings, topics: Topics) -> None:
    """A producer's later transactions elsewhere change nothing; one that commits there does."""
    transactor = Transactor.of(bus, f"{topics.prefix}.x", turns=1)
    transactor.start()

    def fails(topic: str) -> Iterator[Record]:
        yield Record(topic, b"k", b"lost")
        transactor._producers[0].flush(10)
        raise Unavailable("the state is away")

    for topic in (topics.decisions, topics.alerts):
        with pytest.raises(Unavailable):
            transactor.write(fails(topic))
    lost = transactor.aborted_on[0].copy()
    assert {topic for topic, _ in lost} == {topics.decisions, topics.alerts}
    transactor.write([Record(topics.decisions, b"k", b"kept")])
    assert transactor.aborted_on == [{part for part in lost if part[0] == topics.alerts}]
    transactor.end_forgotten(sorted(lost), consumer(bus, topics.group("x")).consumer_group_metadata())
    assert [value for value in read(bus, topics.decisions) if value] == ["kept"]
    assert [value for value in read(bus, topics.alerts) if value] == []
