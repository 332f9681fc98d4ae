"""The topics: their names, how many partitions they have, how long they keep, and what is in them now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from bus.failures import error_of, explained
from ringwatch.errors import BadInput, Unavailable

KEYED = ("events", "labels", "decisions", "features")
"""Topics whose keys must meet in the same partition number: a label finds its event's partition."""
SINGLE = ("alerts", "dlq", "rings")
"""Few records, in one order for everybody: one partition."""
NAMES = ("events", "labels", "decisions", "alerts", "features", "dlq", "rings")
PARTITIONS = 6
TIMEOUT_S = 10.0
_RETRY_S = 0.05
_DAY_MS = 86_400_000
_KEPT_DAYS = {"events": 7, "labels": 30, "decisions": 30, "alerts": 30, "features": 7, "dlq": 30}
_MAX_MESSAGE_BYTES = 2_100_000
"""What a producer may send (`clients.MAX_MESSAGE_BYTES`) and the batch around it."""


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` did."""

    created: Sequence[str]
    left: Sequence[str]
    """Topics there were."""
    differences: Sequence[str]
    """Sentences: what differs from what would have been made."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Names and shape of the topics of one installation. `prefix` also begins the names of the consumer groups."""

    prefix: str = "fraud"

    def name(self, kind: str) -> str:
        """PREFIX.kind, for a kind of `NAMES`."""
        if kind not in NAMES:
            raise BadInput(f"{kind!r} is no topic of Ringwatch", hint=f"one of {', '.join(NAMES)}")
        return f"{self.prefix}.{kind}"

    @property
    def events(self) -> str:
        return self.name("events")

    @property
    def labels(self) -> str:
        return self.name("labels")

    @property
    def decisions(self) -> str:
        return self.name("decisions")

    @property
    def alerts(self) -> str:
        return self.name("alerts")

    @property
    def features(self) -> str:
        return self.name("features")

    @property
    def dlq(self) -> str:
        return self.name("dlq")

    @property
    def rings(self) -> str:
        return self.name("rings")

    def all(self) -> tuple[str, ...]:
        return tuple(self.name(kind) for kind in NAMES)

    def group(self, role: str) -> str:
        """The consumer group of a role."""
        return f"{self.prefix}.{role}"

    def wanted(self, *, partitions: int = PARTITIONS, replication: int = 1) -> list[NewTopic]:
        return [
            NewTopic(
                self.name(kind),
                num_partitions=partitions if kind in KEYED else 1,
                replication_factor=replication,
                config=config_of(kind, replication=replication),
            )
            for kind in NAMES
        ]

    def create(
        self, admin: AdminClient, *, partitions: int = PARTITIONS, replication: int = 1, timeout_s: float = TIMEOUT_S
    ) -> Created:
        """Make what is missing. Topics there are stay as they are; what differs is told. Raises Unavailable, BadInput."""
        if not 1 <= partitions <= 1000:
            raise BadInput(f"{partitions} partitions", hint="1 to 1000: as many as scorers will ever share the work")
        known = partitions_of(admin, timeout_s)
        wanted = self.wanted(partitions=partitions, replication=replication)
        created = _made(admin, [topic for topic in wanted if topic.topic not in known], timeout_s)
        known = _once_known(admin, self.all(), timeout_s)
        left = [topic for topic in wanted if topic.topic not in created]
        configs = _configs(admin, [topic.topic for topic in left], timeout_s)
        differences = [s for topic in left for s in _differences(topic, known[topic.topic], configs[topic.topic])]
        return Created(created, [topic.topic for topic in left], differences)

    def check(self, admin: AdminClient, *, timeout_s: float = TIMEOUT_S) -> int:
        """The number of partitions of the keyed topics.

        Raises Unavailable when a topic is missing or no broker answers, BadInput when keys would not meet.
        """
        known = partitions_of(admin, timeout_s)
        missing = [name for name in self.all() if name not in known]
        if missing:
            raise Unavailable(
                f"Kafka has no topic {', '.join(missing)}", hint="`ringwatch topics create` makes the topics"
            )
        counts = {self.name(kind): len(known[self.name(kind)]) for kind in KEYED}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {n}" for name, n in counts.items())
            raise BadInput(
                f"topics whose keys must meet have different numbers of partitions: {told}",
                hint="give all of them the highest number (kafka-topics --alter --partitions), while nothing is written",
            )
        return next(iter(counts.values()))


def config_of(kind: str, *, replication: int = 1) -> dict[str, str]:
    """The topic settings that matter here; everything else is the brokers' default."""
    found = {
        # A record counts once all replicas but one have it: one may be down.
        "min.insync.replicas": str(max(1, replication - 1)),
        # As the producer compressed it: the broker does not do it again.
        "compression.type": "producer",
        "max.message.bytes": str(_MAX_MESSAGE_BYTES),
        # Retention goes by when a record came, not by what its writer claims: events may be years old.
        "message.timestamp.type": "LogAppendTime",
    }
    if kind == "rings":
        # The last state of each ring is kept for good, and old states go within hours, but not before who keeps the history they
        # bring had a day to read it.
        return found | {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": "3600000",
            "min.compaction.lag.ms": str(_DAY_MS),
        }
    # Whole segments are deleted, so none is older than a day.
    return found | {
        "cleanup.policy": "delete",
        "retention.ms": str(_KEPT_DAYS[kind] * _DAY_MS),
        "segment.ms": str(_DAY_MS),
    }


def partitions_of(admin: AdminClient, timeout_s: float) -> dict[str, list[int]]:
    """topic -> number of replicas of each partition, of all topics."""
    try:
        found = admin.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise explained(error, "the topics cannot be listed") from None
    return {
        name: [len(partition.replicas) for _, partition in sorted(topic.partitions.items())]
        for name, topic in found.items()
        if topic.error is None
    }


def _once_known(admin: AdminClient, names: Sequence[str], timeout_s: float) -> dict[str, list[int]]:
    """As `partitions_of`, once the brokers have told each other of all these topics. Raises Unavailable."""
    until = monotonic() + timeout_s
    while True:
        known = partitions_of(admin, timeout_s)
        missing = [name for name in names if not known.get(name)]
        if not missing:
            return known
        if monotonic() > until:
            raise Unavailable(f"{', '.join(missing)} was made and is not to be seen", hint="try again")
        sleep(_RETRY_S)


def _made(admin: AdminClient, missing: list[NewTopic], timeout_s: float) -> list[str]:
    """Names of those that were made here; another process may have made the others at the same time."""
    made = []
    futures: Mapping[str, Future[None]] = (
        admin.create_topics(missing, operation_timeout=timeout_s, request_timeout=timeout_s) if missing else {}
    )
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error_of(error).code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise explained(error, f"topic {name} cannot be made") from None
        made.append(name)
    return made


def _configs(admin: AdminClient, names: Iterable[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    try:
        asked = admin.describe_configs(resources, request_timeout=timeout_s)
        return {
            resource.name: {name: entry.value for name, entry in future.result().items()}
            for resource, future in asked.items()
        }
    except KafkaException as error:
        raise explained(error, "the topics' settings cannot be read") from None


def _differences(wanted: NewTopic, replicas: Sequence[int], config: Mapping[str, Any]) -> Iterable[str]:
    name = wanted.topic
    if len(replicas) != wanted.num_partitions:
        yield f"{name} has {len(replicas)} partitions, not {wanted.num_partitions}"
    if replicas and min(replicas) < wanted.replication_factor:
        yield f"{name} is kept {min(replicas)} times, not {wanted.replication_factor}"
    for key, value in sorted((wanted.config or {}).items()):
        found = config.get(key)
        if found is not None and found != value:
            yield f"{name} has {key} {_said(key, found)}, not {_said(key, value)}"


def _said(key: str, value: str) -> str:
    """A setting's value for a person."""
    if not key.endswith(".ms"):
        return value
    ms = int(value)
    return "for ever" if ms < 0 else f"{ms / _DAY_MS:g} d" if ms % _DAY_MS == 0 else f"{ms / 3_600_000:g} h"
