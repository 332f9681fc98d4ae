"""Reading all partitions of a topic as the only member of a group: for a role of which there is one at a time.

There is no rebalance: whoever writes with the group's transactional id last fences the one before, and with it its offsets.
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from bus.reading import Reader, topic_partitions


class AloneReader(Reader):
    """As `Reader`, without a group's membership. Begins where the group stands. Not thread-safe."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        settled: Callable[[list[TopicPartition]], list[TopicPartition]] | None = None,
    ) -> None:
        super().__init__(consumer, [topic], None, settled)
        self._topic = topic

    def _join(self) -> None:
        """There is nobody to join."""

    def start(self) -> dict[int, int]:
        """Take all partitions; partition -> where the group stands (its oldest record where it never was). Raises Unavailable."""
        starts = self._standing(
            [(self._topic, partition) for partition in topic_partitions(self._consumer, self._topic)]
        )
        self._next = dict(starts)
        self._done = dict(starts)
        self._consumer.assign([TopicPartition(name, partition, offset) for (name, partition), offset in starts.items()])
        return {partition: offset for (_, partition), offset in starts.items()}
