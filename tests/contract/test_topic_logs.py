"""Topics read as a whole from a real broker."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from support import topics as given

from bus.clients import BusSettings
from bus.messages import RingMessage, encode
from bus.topic_log import unended
from bus.topics import Topics
from bus.transactions import Record, Transactor
from ringwatch.errors import Corrupt
from roles.logs import DecisionsLog, RingsLog

pytestmark = pytest.mark.backends
bus, client, unmade, topics = given.bus, given.client, given.unmade, given.topics


def told(ring_id: str, *members: str) -> RingMessage:
    return RingMessage(
        v=1, tenant="t", ring_id=ring_id, status="active" if members else "ended", risk=0.5, users=len(members),
        first_us=1, last_us=2, members=members, shared=(), updated_us=3,
    )  # fmt: skip


def wrote(bus: BusSettings, transactor: Transactor, topic: str, records: Iterable[Record]) -> None:
    """Written and to be read: a broker answers a commit before readers of committed records see it."""
    transactor.write(records)
    assert unended(bus, [topic], 30.0) == []


def test_rings_that_were_told_and_not_that_they_ended(bus: BusSettings, topics: Topics) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x", turns=1)
    transactor.start()

    def write(*rings: RingMessage) -> None:
        wrote(bus, transactor, topics.rings, (Record(topics.rings, r.ring_id.encode(), encode(r)) for r in rings))

    log = RingsLog(bus, topics.rings)
    assert log.told() == {}
    write(told("a", "u1", "u2"), told("b", "u3", "u4"))
    write(told("b"), told("c", "u5", "u6"))
    assert log.told() == {"a": ("t", ("u1", "u2")), "c": ("t", ("u5", "u6"))}
    write(told("c", "u5", "u7"), told("a"))
    assert log.told() == {"c": ("t", ("u5", "u7"))} == RingsLog(bus, topics.rings).told()


def test_what_is_kept_no_longer_is_counted(bus: BusSettings, client: AdminClient, topics: Topics) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x", turns=1)
    transactor.start()
    wrote(bus, transactor, topics.decisions, (Record(topics.decisions, b"a", b"whatever") for _ in range(4)))
    log = DecisionsLog(bus, topics.decisions)
    (at,) = (partition for partition, end in log.ends().items() if end)
    assert log.missing({}) == 0
    (gone,) = client.delete_records([TopicPartition(topics.decisions, at, 3)]).values()
    gone.result(20)
    assert [log.missing(known) for known in ({}, {at: 2}, {at: 3}, {at: 4})] == [3, 1, 0, 0]


def test_what_is_not_ours_is_passed_over_and_a_newer_version_is_not(
    bus: BusSettings, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    transactor = Transactor.of(bus, f"{topics.prefix}.x", turns=1)
    transactor.start()
    raws = b"\xff", b"{}", b"null", encode(told("a", "u1"))
    wrote(bus, transactor, topics.rings, (Record(topics.rings, b"k", raw) for raw in raws))
    with caplog.at_level(logging.ERROR):
        assert RingsLog(bus, topics.rings).told() == {"a": ("t", ("u1",))}
    assert f"{topics.rings}/0 is passed over at offset 0: the message is not an envelope of Ringwatch" in caplog.text
    newer = encode(told("b", "u1")).replace(b'"v":1', b'"v":2')
    wrote(bus, transactor, topics.rings, [Record(topics.rings, b"k", newer)])
    with pytest.raises(Corrupt, match="has version 2, this program reads version 1"):
        RingsLog(bus, topics.rings).told()
