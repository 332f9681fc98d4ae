"""What is in the topics, and how far each consumer group of ours has read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec  # type: ignore[attr-defined]

from bus.failures import explained, retried
from bus.topics import TIMEOUT_S, Topics, partitions_of

Spans = dict[str, list[tuple[int, int]]]
"""topic -> (first offset, offset after the last committed record) of each partition."""


class TopicState(msgspec.Struct, frozen=True):
    name: str
    replication: int
    first: Sequence[int]
    """Oldest offset kept, of each partition."""
    end: Sequence[int]
    """Offset after the last committed record, of each partition."""


class GroupState(msgspec.Struct, frozen=True):
    name: str
    state: str
    """stable, empty, preparing_rebalance, ..."""
    members: int
    lag: dict[str, Sequence[int]]
    """topic -> records not read yet, of each partition; transactions count one more each until they are read past."""


def topic_states(admin: AdminClient, topics: Topics, *, timeout_s: float = TIMEOUT_S) -> list[TopicState]:
    """Of the topics there are, in the order of their names' kinds. Raises Unavailable."""
    known = partitions_of(admin, timeout_s)
    there = [name for name in topics.all() if name in known]
    spans = _spans(admin, {name: len(known[name]) for name in there}, timeout_s)
    return [
        TopicState(name, min(known[name], default=0), [a for a, _ in spans[name]], [b for _, b in spans[name]])
        for name in there
    ]


def group_states(admin: AdminClient, topics: Topics, *, timeout_s: float = TIMEOUT_S) -> list[GroupState]:
    """Of the consumer groups whose names begin with the prefix, by name. Raises Unavailable."""
    try:
        listed = admin.list_consumer_groups(request_timeout=timeout_s).result().valid or []
        names = sorted(g.group_id for g in listed if g.group_id.startswith(f"{topics.prefix}."))
        if not names:
            return []
        described = {
            name: future.result()
            for name, future in admin.describe_consumer_groups(names, request_timeout=timeout_s).items()
        }
        offsets = {name: _committed(admin, name, timeout_s) for name in names}
    except KafkaException as error:
        raise explained(error, "the consumer groups cannot be read") from None
    known = partitions_of(admin, timeout_s)
    read = {topic for found in offsets.values() for topic, _ in found if topic in known}
    spans = _spans(admin, {topic: len(known[topic]) for topic in read}, timeout_s)
    return [
        GroupState(name, described[name].state.name.lower(), len(described[name].members), _lag(offsets[name], spans))
        for name in names
    ]


def _committed(admin: AdminClient, group: str, timeout_s: float) -> dict[tuple[str, int], int]:
    (future,) = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=timeout_s
    ).values()
    return {(p.topic, p.partition): p.offset for p in future.result().topic_partitions}


def _lag(offsets: dict[tuple[str, int], int], spans: Spans) -> dict[str, Sequence[int]]:
    """A partition without a committed offset is read from its beginning."""
    topics = sorted({topic for topic, _ in offsets if topic in spans})
    return {
        topic: [max(0, end - max(offsets.get((topic, n), first), first)) for n, (first, end) in enumerate(spans[topic])]
        for topic in topics
    }


def _spans(admin: AdminClient, counts: dict[str, int], timeout_s: float) -> Spans:
    parts = [TopicPartition(topic, n) for topic, count in counts.items() for n in range(count)]
    if not parts:
        return {topic: [] for topic in counts}
    firsts = _offsets(admin, parts, OffsetSpec.earliest(), timeout_s)  # type: ignore[no-untyped-call]
    ends = _offsets(admin, parts, OffsetSpec.latest(), timeout_s)  # type: ignore[no-untyped-call]
    return {topic: [(firsts[topic, n], ends[topic, n]) for n in range(count)] for topic, count in counts.items()}


def _offsets(
    admin: AdminClient, parts: Iterable[TopicPartition], at: OffsetSpec, timeout_s: float
) -> dict[tuple[str, int], int]:
    def ask() -> dict[tuple[str, int], int]:
        asked: dict[TopicPartition, Future[ListOffsetsResultInfo]] = admin.list_offsets(
            dict.fromkeys(parts, at), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_s
        )
        return {(part.topic, part.partition): future.result().offset for part, future in asked.items()}

    return retried(ask, "the offsets cannot be read", timeout_s)
