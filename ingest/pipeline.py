"""Records in, decisions out: the loop that joins source, state, scorers and outlets.

One chunk at a time: tell redeliveries and conflicts apart, resolve labels, score, group alerts, and put what came of it to the
outlets, which write the ledger (with the position in the source) and the graph while the next chunk is scored. Recovery is the
last snapshot plus a replay of what the ledger holds after it, so after a crash at any moment nothing is lost, nothing
counts twice, and no source is read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from time import monotonic, perf_counter

import msgspec

from features.columns import Applied, ResolvedLabel
from ingest.outlets import Outlets, Spent
from ingest.redelivery import CONFLICT, NEW, SeenEvents
from ingest.snapshot import Position, Snapshots, Underway
from ingest.source import Chunk, Source
from ingest.stream import ScoringStream
from ingest.tally import Taken, Tally
from ledger.alerting import AlertGrouper
from ledger.store import LedgerStore, LedgerWrite, Progress
from rings.entry import RingEntry
from rings.keeper import RingKeeper
from ringwatch.errors import BadInput, RingwatchError
from ringwatch.model import Event, Item, Label, Level, Refusal
from scorers.decision import Decisions

_encode = msgspec.json.Encoder().encode
_UNNUMBERED = "unnumbered"
"""Progress of sources that cannot be read again, such as standard input: keeps the running number only."""
_NEVER = -(2**62)
_LEVELS = [level.name for level in Level]
_SNAPSHOT_SHARE = 0.05
"""Snapshots take at most about this share of the time."""


class Pipeline:
    """Owns the order of things; everything else is handed in. Not thread-safe."""

    recovers = False
    asked_anywhere = False

    def __init__(
        self,
        stream: ScoringStream,
        outlets: Outlets,
        grouper: AlertGrouper,
        *,
        seen: SeenEvents,
        snapshots: Snapshots,
        snapshot_interval_s: float = 30.0,
    ) -> None:
        self.stream = stream
        self.outlets = outlets
        self.tally = Tally()
        outlets.written = self._count
        if self.rings is not None:
            self.rings.keep_history()
        self._grouper = grouper
        self._seen = seen
        self._snapshots = snapshots
        self._interval_s = snapshot_interval_s
        self._founded: dict[str, str] = {}
        """Alerts that began in this run, with their level so far."""
        self._seq = -1
        self._snapshot_seq = -1
        self._snapshot_due = monotonic() + snapshot_interval_s
        self._snapshot_earliest = 0.0
        """Not before that, even if nobody waits."""
        self._underway: Underway | None = None
        self._stall_s = 0.0

    @property
    def rings(self) -> RingKeeper | None:
        """By what people have judged up to now."""
        self.stream.judge()
        return self.stream.rings if isinstance(self.stream.rings, RingKeeper) else None

    @property
    def ledger(self) -> LedgerStore:
        return self.outlets.ledger

    @property
    def graph_error(self) -> Exception | None:
        return self.outlets.graph_error

    def stats(self) -> dict[str, int]:
        return self.stream.state.stats()

    def flush(self) -> None:
        """Wait until everything taken is in the ledger. Raises what stopped it."""
        self.outlets.flush()

    def recover(self) -> None:
        """Bring memory to where the ledger is. Call once, before the first item."""
        ledger = self.outlets.ledger
        position, self.tally.troubles = self._snapshots.restore(self.stream)
        last_seq = ledger.last_seq()
        if position.seq > last_seq:
            self.tally.troubles.append(f"the newest snapshot is ahead of the ledger ({position.seq} > {last_seq})")
        known_us = _NEVER if position.watermark_us is None else position.watermark_us
        pending = ledger.pending_labels(known_us, position.seq)
        self.stream.resume(
            position.watermark_us,
            [(label.known_at_us, seq, r) for seq, label in pending if (r := self._resolve(label, {})) is not None],
        )
        for items in ledger.replay(after_seq=position.seq):
            self._replay(items)
        self.outlets.flush()
        for tenant, event_id, body in ledger.event_bodies(limit=self._seen.capacity):
            self._seen.remember(tenant, event_id, body)
        watermark_us = ledger.watermark_us()
        if watermark_us is not None:
            open_alerts = ledger.open_alerts(active_since_us=watermark_us - self._grouper.memory_us)
            self._grouper.restore(open_alerts, watermark_us)
        self._seq = last_seq
        self._snapshot_seq = position.seq

    def _replay(self, items: Sequence[tuple[int, Event | Label]]) -> None:
        entities = {(item.tenant, item.event_id): item.entities for _, item in items if isinstance(item, Event)}
        applied: list[tuple[int, Applied]] = []
        for seq, item in items:
            resolved = self._resolve(item, entities) if isinstance(item, Label) else item
            if resolved is not None:
                applied.append((seq, resolved))
        decisions = self.stream.feed(applied)
        if self.outlets.graph is not None and len(decisions):
            self.outlets.graph.submit(decisions)
        if history := self._history():  # of which the ledger has what it had when it last ran
            self.outlets.put(LedgerWrite(None, ring_history=history))
        self.tally.replayed += len(decisions)

    def run(
        self,
        source: Source,
        *,
        progress: Callable[[Tally], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Tally:
        """Read the source to its end, or until `stop` says so; continues where the ledger says it was left."""
        started = perf_counter()
        before = self.outlets.ledger.progress(source.source_id) if source.resumable else None
        if before is not None and before.finished:
            self.tally.already_finished = True
            return self.tally
        position = before.position if before else 0
        for chunk in source.read(after=position):
            self.take(chunk, source.name, source.source_id)
            self.outlets.check_graph()
            position = max(position, chunk.positions[-1] if chunk.positions else 0)
            self.tally.seconds = perf_counter() - started
            self.tally.done = chunk.done
            if progress is not None:
                progress(self.tally)
            if stop():
                self.tally.interrupted = True
                break
        else:
            self._put(None, [], [], Progress(source.source_id, source.name, position, self._seq, finished=True))
        self.checkpoint()
        self.tally.seconds = perf_counter() - started
        return self.tally

    def take(self, chunk: Chunk, source: str, source_id: str | None = None) -> Taken:
        """Score a chunk in order; it is written behind the caller. A redelivered event changes nothing. With a `source_id` the
        ledger remembers how far it was read."""
        fresh, labels, refusals = self._sort(chunk, source)
        position = chunk.positions[-1] if chunk.positions else 0
        progress = Progress(source_id or _UNNUMBERED, source, position, self._seq)
        decisions = self.stream.feed(fresh)
        written = self._put(decisions, labels, refusals, progress)
        self.begin_snapshot()
        return Taken(decisions, [r for r in refusals if r.code in ("conflict", "unknown_event")], written)

    def process(self, chunk: Chunk, source: str, source_id: str | None = None) -> Taken:
        """As `take`, and wait until it is in the ledger. Raises what stopped the graph, too."""
        taken = self.take(chunk, source, source_id)
        taken.written.result()
        self.outlets.check_graph()
        return taken

    def look(self, event: Event) -> Decisions | None:
        """The decision of an event as if it happened now, alone; nothing changes. None when it was seen before, and is in the ledger. Raises
        BadInput for an id that was seen with another content."""
        seen = self._seen.look(event)
        if seen == CONFLICT:
            raise BadInput(_conflict(event), hint="use another id", code="conflict")
        if seen == NEW:
            return self.stream.look([event])
        self.outlets.flush()
        return None

    def _sort(
        self, chunk: Chunk, source: str
    ) -> tuple[list[tuple[int, Applied]], list[tuple[int, Label]], list[Refusal]]:
        entities: dict[tuple[str, str], dict[str, str]] = {}
        fresh: list[tuple[int, Applied]] = []
        labels: list[tuple[int, Label]] = []
        refusals: list[Refusal] = []
        found = [self._seen.check(item) if isinstance(item, Event) else NEW for item in chunk.items]
        stored, known = self._stored_of_labels(chunk.items, found)
        for item, position, seen in zip(chunk.items, chunk.positions, found, strict=True):
            self._seq += 1
            if isinstance(item, Refusal):
                refusals.append(item)
            elif isinstance(item, Label):
                resolved = self._resolve(item, entities, stored)
                if item in known:
                    self.tally.duplicates += 1
                elif resolved is None:
                    reason = f"label of unknown event {item.target_id!r}: send the event before its label"
                    refusals.append(Refusal(reason, source, position, _encode(item), "unknown_event"))
                else:
                    fresh.append((self._seq, resolved))
                    labels.append((self._seq, item))
                    known.add(item)
            elif seen == NEW:
                entities[item.tenant, item.event_id] = item.entities
                fresh.append((self._seq, item))
            elif seen == CONFLICT:
                refusals.append(Refusal(_conflict(item), source, position, _encode(item), "conflict"))
            else:
                self.tally.duplicates += 1
        return fresh, labels, refusals

    def _stored_of_labels(
        self, items: Sequence[Item], found: Sequence[int]
    ) -> tuple[dict[tuple[str, str], dict[str, str]], set[Label]]:
        """From the ledger, for labels of what is not new here: the entities of their events, and the labels there are."""
        new = {
            (item.tenant, item.event_id)
            for item, seen in zip(items, found, strict=True)
            if isinstance(item, Event) and seen == NEW
        }
        wanted: dict[tuple[str, str], list[str]] = {}
        for item in items:
            if isinstance(item, Label) and (item.target_kind != "event" or (item.tenant, item.target_id) not in new):
                wanted.setdefault((item.tenant, item.target_kind), []).append(item.target_id)
        if wanted:
            self.outlets.flush()
        ledger = self.outlets.ledger
        entities: dict[tuple[str, str], dict[str, str]] = {}
        labels: set[Label] = set()
        for (tenant, kind), ids in wanted.items():
            labels |= ledger.labels_of(tenant, kind, ids)
            if kind == "event":
                entities |= {(tenant, id_): of for id_, of in ledger.events_entities(tenant, ids).items()}
        return entities, labels

    def _resolve(
        self,
        label: Label,
        entities: dict[tuple[str, str], dict[str, str]],
        stored: dict[tuple[str, str], dict[str, str]] | None = None,
    ) -> ResolvedLabel | None:
        if label.target_kind != "event":
            return ResolvedLabel(label, {label.target_kind: label.target_id})
        found = entities.get((label.tenant, label.target_id))
        if found is None:
            if stored is None:
                found = self.outlets.ledger.events_entities(label.tenant, [label.target_id]).get(label.target_id)
            else:
                found = stored.get((label.tenant, label.target_id))
        return None if found is None else ResolvedLabel(label, found)

    def _put(
        self,
        decisions: Decisions | None,
        labels: Sequence[tuple[int, Label]],
        refusals: Sequence[Refusal],
        progress: Progress,
    ) -> Future[Spent]:
        write = LedgerWrite(
            decisions, progress=progress, labels=labels, refusals=refusals, ring_history=self._history()
        )
        write.watermark_us = self.stream.watermark_us
        if decisions is not None and len(decisions):
            write.alerts, write.alert_events = self._grouper.add(decisions)
        return self.outlets.put(write)

    def _history(self) -> Sequence[RingEntry]:
        return () if self.rings is None else self.rings.take_history()

    def _count(self, write: LedgerWrite, spent: Spent) -> None:
        """Of what is in the ledger; on the thread of the outlets."""
        tally, decisions = self.tally, write.decisions
        for stage, s in spent.items():
            tally.stage_s[stage] = tally.stage_s.get(stage, 0.0) + s
        tally.labels += len(write.labels)
        tally.refusals += len(write.refusals)
        added = Counter(alert_id for alert_id, _ in write.alert_events)
        for alert in write.alerts:
            if alert.alert_id in self._founded or alert.events == added[alert.alert_id]:
                before = self._founded.get(alert.alert_id)
                if before == alert.level:
                    continue
                self._founded[alert.alert_id] = alert.level
                tally.alerts[alert.level] = tally.alerts.get(alert.level, 0) + 1
                if before is not None:
                    tally.alerts[before] -= 1
        if decisions is None:
            return
        tally.events += len(decisions)
        for level, n in Counter(decisions.level.tolist()).items():
            tally.levels[_LEVELS[level]] += n
        for stage, value in decisions.timing_us.items():
            tally.stage_s[stage] = tally.stage_s.get(stage, 0.0) + value * len(decisions) / 1e6

    def begin_snapshot(self, *, quiet: bool = False) -> None:
        """Start a snapshot behind the caller, when it is due (or nobody waits: `quiet`), anything is new and none is under way.
        Raises nothing: what goes wrong stands in the tally, and it is tried again later."""
        if self._underway is not None:
            if not self._underway.done:
                return
            self._end_snapshot()
        now = monotonic()
        if now < (self._snapshot_earliest if quiet else self._snapshot_due) or self.outlets.stopped:
            return
        self._snapshot_due = now + self._interval_s
        if self._seq == self._snapshot_seq:
            return
        started = perf_counter()
        try:
            self._underway = self._snapshots.begin(self._position(), self.stream, self._settle)
        except (OSError, RuntimeError, RingwatchError) as error:
            self._snapshot_failed(f"the snapshot at {self._seq} was not begun: {error}")
        self._stall_s = perf_counter() - started

    def checkpoint(self) -> None:
        """Snapshot everything in memory now, after ledger and graph have caught up. Raises what stopped them."""
        self._end_snapshot()
        self._settle()
        if self._seq != self._snapshot_seq:
            started = perf_counter()
            self._snapshots.write(self._position(), self.stream)
            self._snapshotted(self._seq, perf_counter() - started)

    def _end_snapshot(self) -> None:
        if self._underway is None:
            return
        trouble = self._underway.result()
        if trouble:
            self._snapshot_failed(trouble)
        else:
            self._snapshotted(self._underway.seq, self._underway.seconds, self._stall_s)
        self._underway = None

    def _snapshot_failed(self, trouble: str) -> None:
        self.tally.snapshot_trouble = trouble
        self._snapshot_due = self._snapshot_earliest = monotonic() + self._interval_s

    def _snapshotted(self, seq: int, took_s: float, stall_s: float | None = None) -> None:
        tally = self.tally
        stall_s = took_s if stall_s is None else stall_s
        tally.stage_s["snapshot"] = tally.stage_s.get("snapshot", 0.0) + stall_s
        tally.snapshots = [*tally.snapshots[-9:], (stall_s * 1e3, took_s * 1e3)]
        tally.snapshot_trouble = ""
        self._snapshot_seq = seq
        self._snapshot_earliest = monotonic() + took_s / _SNAPSHOT_SHARE
        self._snapshot_due = max(monotonic() + self._interval_s, self._snapshot_earliest)

    def _settle(self) -> None:
        """Wait until ledger and graph hold what was put."""
        self.outlets.flush()
        if self.outlets.graph is not None:
            self.outlets.check_graph()
            self.outlets.graph.flush()

    def _position(self) -> Position:
        return Position(seq=self._seq, watermark_us=self.stream.watermark_us)

    def close(self) -> None:
        """Snapshot and close every store, in an order that leaves them consistent. Raises what stopped one of them; the others
        are closed then, too."""
        with ExitStack() as closing:
            closing.callback(self.stream.state.close)
            closing.callback(self.outlets.close)
            closing.callback(self.stream.assessor.book.close)
            self.checkpoint()


def _conflict(event: Event) -> str:
    return f"event id {event.event_id!r} was seen before with another content"
