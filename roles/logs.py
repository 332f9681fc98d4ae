"""The topics that are read as a whole: decisions, to bring memory back and to look what is there, and rings, to know what was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bus.clients import BusSettings
from bus.messages import DecisionMessage, LabelMessage, RingMessage, decode, decode_ring
from bus.topic_log import TopicLog
from ingest.keeper import Followed, Keeper
from rings.published import Told

Logged = tuple[int, int, DecisionMessage | LabelMessage]
"""partition, offset, message."""


class DecisionsLog(TopicLog[DecisionMessage | LabelMessage]):
    """In the order in which they were decided."""

    def __init__(self, bus: BusSettings, topic: str) -> None:
        super().__init__(bus, topic, decode, lambda m: m.decided_us)

    def present(
        self, since_us: int, wanted: set[tuple[str, str]], before: Mapping[int, int] | None = None
    ) -> set[tuple[str, str]]:
        """Which of the (tenant, id) pairs have a message that was written since then, and before these offsets where they are given; a
        label's id is that of its message."""
        found: set[tuple[str, str]] = set()
        for partition, offset, message in self.read_since(since_us):
            if before is not None and offset >= before.get(partition, 0):
                continue
            if isinstance(message, DecisionMessage):
                found.add((message.tenant, message.event_id))
            else:
                found.add((message.label.tenant, f"\x00label:{message.id}"))
        return found & wanted


class RingsLog(TopicLog[RingMessage]):
    """Which rings were told. Not thread-safe: it remembers how far it has read."""

    def __init__(self, bus: BusSettings, topic: str) -> None:
        super().__init__(bus, topic, decode_ring, lambda m: m.updated_us)
        self._positions: dict[int, int] = {}
        self._told: dict[str, tuple[str, tuple[str, ...]]] = {}

    def told(self) -> Told:
        """ring id -> its tenant and members as told last, of rings that were not told to have ended. Raises Unavailable."""
        for partition, offset, message in self.read(self._positions):
            self._positions[partition] = offset + 1
            if message.members:
                self._told[message.ring_id] = message.tenant, message.members
            else:
                self._told.pop(message.ring_id, None)
        return self._told


def batches(log: Iterator[Logged], most: int = 500) -> Iterator[list[Logged]]:
    batch: list[Logged] = []
    for logged in log:
        batch.append(logged)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def bring_back(
    keeper: Keeper,
    log: DecisionsLog,
    until: Mapping[int, int] | None = None,
    seen: Callable[[Sequence[DecisionMessage | LabelMessage], Followed], None] = lambda _, __: None,
) -> int:
    """The keeper's memory as of the end of the topic, or of the next offsets `until`: its newest snapshot, and what was decided
    since. `seen` gets what comes of each batch. Returns how many messages that was."""
    keeper.restore()
    n = 0
    for batch in batches(log.read(keeper.positions)):
        mine = [(p, offset, m) for p, offset, m in batch if until is None or offset < until.get(p, 0)]
        messages = [message for _, _, message in mine]
        seen(messages, keeper.follow(messages))
        keeper.positions |= {partition: offset + 1 for partition, offset, _ in mine}
        n += len(mine)
    return n
