"""Scoring over HTTP on a shared state: the decision is in Kafka before it is answered, and nowhere else until it is read there.

A decision whose state was written and which did not reach Kafka (the process ended in between) stands in the state as not settled;
`sweep` looks whether it is on the topic and emits it if not.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Thread
from time import monotonic, perf_counter

from bus.messages import DecisionMessage, LabelMessage, decode, key_of, key_of_label
from bus.topics import Topics
from features.columns import Applied, ResolvedLabel
from ingest.outlets import Spent
from ingest.shared_scoring import Scored, SharedScoring
from ingest.source import Chunk
from ingest.stream import ScoringStream
from ingest.tally import Taken, Tally
from ledger.store import LedgerStore
from rings.ring import RingReader
from ringwatch.begun import begun
from ringwatch.errors import RingwatchError, Unavailable
from ringwatch.model import Assessment, Event, Label, Refusal
from roles.emitter import Emitter, Placed
from roles.outgoing import Outgoing, alert_messages, decided
from scorers.decision import Decisions

log = logging.getLogger("ringwatch.http")
LEFT_S, FORSAKEN_S = 30.0, 300.0
"""A decision of this process, or of another, that is not settled for so long was left behind."""
_LEDGER_S, _LEDGER_REST_S = 1.0, 5.0
"""So long labels wait for the ledger; where it did not answer it is left alone for a while."""
HTTP = "http"
"""Begins the origins of what came over HTTP, as its topic does of what was read from Kafka."""
Present = Callable[[int, "set[tuple[str, str]]"], "set[tuple[str, str]]"]
"""(since, by the wall clock in microseconds; (tenant, id) pairs) -> those whose message is on the decisions topic."""


class HttpScoring:
    """What the engine drives (`ingest.scoring.Scoring`)."""

    recovers = True
    asked_anywhere = True

    def __init__(
        self,
        scoring: SharedScoring,
        emitter: Emitter,
        ledger: LedgerStore,
        topics: Topics,
        *,
        instance: str,
        features_share: float,
        rings: RingReader | None,
    ) -> None:
        self.scoring = scoring
        self.ledger = ledger
        self.tally = Tally()
        self.graph_error: Exception | None = None
        self.rings = rings
        self._emitter = emitter
        self._topics = topics
        self._share = features_share
        self._origin = f"{HTTP}/{instance}/"
        self._numbers = itertools.count(time.time_ns())
        self._last: Future[Spent] | None = None
        self._ledger_away_until = 0.0
        self._out: set[tuple[str, str]] = set()
        """(tenant, id) of what is in Kafka and not settled yet."""
        self._settling = ThreadPoolExecutor(1, "settle")

    @property
    def stream(self) -> ScoringStream:
        return self.scoring.stream

    def stats(self) -> dict[str, int]:
        try:
            return self.scoring.state.stats()
        except Unavailable:
            return {}

    def flush(self) -> None:
        if self._last is not None:
            self._last.result()

    def begin_snapshot(self, *, quiet: bool = False) -> None:
        self.scoring.snapshot()

    def take(self, chunk: Chunk, source: str, source_id: str | None = None) -> Taken:
        """Score a chunk; `written` is done when Kafka has it."""
        items, places, refused = self._resolved(chunk, source)
        origins = [f"{self._origin}{next(self._numbers)}".encode() for _ in items]
        with self.scoring.lock:
            scored = self.scoring.score(items, origins, patient=False)
            started = perf_counter()
            try:
                placed = self._emitter.emit(decided(self._topics, scored, self._share, time.time_ns() // 1000))
            except BaseException:
                self.scoring.failed()
                raise
        written: Future[Spent] = Future()
        placed.add_done_callback(lambda done: self._placed(scored, done, written, started))
        self._last = written
        self._count(scored, len(refused))
        refused += [
            Refusal(
                f"event id {_id(items[i])!r} was seen before with another content", source, places[i], b"", "conflict"
            )
            for i in scored.conflicts
        ]
        return Taken(self._decisions(scored), refused, written, self._known(scored))

    def look(self, event: Event) -> Decisions | None:
        with self.scoring.lock:
            features = self.scoring.state.apply([event], commit=False)
            return self.stream.see([event], features)

    def _resolved(self, chunk: Chunk, source: str) -> tuple[list[Applied], list[int], list[Refusal]]:
        """Items with labels resolved, their positions, and what cannot be."""
        named: dict[str, list[str]] = {}
        for item in chunk.items:
            if isinstance(item, Label) and item.target_kind == "event":
                named.setdefault(item.tenant, []).append(item.target_id)
        entities = self._entities(named)
        items: list[Applied] = []
        places: list[int] = []
        refused: list[Refusal] = []
        for item, position in zip(chunk.items, chunk.positions, strict=True):
            if isinstance(item, Event):
                items.append(item)
            elif isinstance(item, Label):
                of = (entities or {}).get((item.tenant, item.target_id))
                if item.target_kind != "event":
                    of = {item.target_kind: item.target_id}
                if of is None and entities is None:
                    reason = (
                        f"the ledger, which knows the event {item.target_id!r}, does not answer: send the label again"
                    )
                    refused.append(Refusal(reason, source, position, b"", "ledger_away"))
                    continue
                if of is None:
                    reason = f"label of unknown event {item.target_id!r}: send the event before its label"
                    refused.append(Refusal(reason, source, position, b"", "unknown_event"))
                    continue
                items.append(ResolvedLabel(item, of))
            else:
                continue
            places.append(position)
        return items, places, refused

    def _entities(self, named: Mapping[str, list[str]]) -> dict[tuple[str, str], dict[str, str]] | None:
        """(tenant, event id) -> its entities; None while the ledger does not answer, for which events must not wait."""
        if not named:
            return {}
        if monotonic() < self._ledger_away_until:
            return None
        ask = self.ledger.events_entities
        asked = begun(lambda: {(t, i): e for t, ids in named.items() for i, e in ask(t, ids).items()}, "labels")
        try:
            return asked.result(_LEDGER_S)
        except (TimeoutError, Unavailable) as error:
            log.warning("labels are refused for a while: the ledger does not answer: %s", error)
            self._ledger_away_until = monotonic() + _LEDGER_REST_S
            return None

    def _placed(self, scored: Scored, placed: Future[Placed], written: Future[Spent], started: float) -> None:
        """On the emitter's thread."""
        try:
            self.scoring.ended(placed.result())
        except Exception as error:  # noqa: BLE001 - a top: whoever waits must be told
            self.scoring.failed()
            written.set_exception(error)
            return
        self._out |= {(tenant, id_) for tenant, ids in scored.ids.items() for id_ in ids}
        written.set_result({"kafka": perf_counter() - started})
        self._settling.submit(self._settle, scored)

    def _settle(self, scored: Scored) -> None:
        try:
            self.scoring.settle(scored, keep=True)
        except RingwatchError as error:
            log.warning("decisions that are out could not be settled, the sweep does it: %s", error)
        finally:
            self._out -= {(tenant, id_) for tenant, ids in scored.ids.items() for id_ in ids}

    def _decisions(self, scored: Scored) -> Decisions:
        found = scored.decisions or [self.stream.see([], self.scoring.no_features())]
        return replace(Decisions.concatenate(found), accounts=())

    def _known(self, scored: Scored) -> dict[tuple[str, str], Assessment]:
        """Of before. What is not in Kafka for certain is not among them: it is on its way, or left behind and swept."""
        waiting: set[tuple[str, str]] = set()
        for tenant in {tenant for tenant, _ in scored.known}:
            ids = [id_ for of, id_ in scored.known if of == tenant and (of, id_) not in self._out]
            waiting |= {(tenant, id_) for id_ in self.scoring.state.waiting(tenant, ids)}
        messages = [message for key, message in scored.known.items() if message is not None and key not in waiting]
        return {
            (decisions.events[row].tenant, decisions.events[row].event_id): decisions.assessment(row)
            for decisions in self.scoring.known(messages)
            for row in range(len(decisions))
        }

    def _count(self, scored: Scored, refusals: int) -> None:
        tally = self.tally
        tally.events += sum(len(d) for d in scored.decisions)
        tally.duplicates += scored.duplicates
        tally.refusals += refusals

    # -- what was left behind

    def sweep(self, tenants: Sequence[str], present: Present) -> int:
        """Emit what was scored over HTTP and did not get out, if it is not on the topic: by this instance, and after a while by any (one
        that does not come back). One process does so at a time. Returns how many were emitted."""
        state, emitted = self.scoring.state, 0
        for tenant in tenants:
            if not self._left(tenant) or not state.claim_sweep(self._origin):
                continue
            try:
                left = self._left(tenant)  # as it is now that nobody else is at it
                since_us = min((m.decided_us for _, _, m in left), default=0)
                there = present(since_us, {(tenant, id_) for id_, _, _ in left}) if left else set()
                missing = [(raw, m) for id_, raw, m in left if (tenant, id_) not in there]
                if missing:
                    self._emit_left(missing)
                    emitted += len(missing)
                state.settle(tenant, [id_ for id_, _, _ in left])
            finally:
                state.end_sweep()
        return emitted

    def _left(self, tenant: str) -> list[tuple[str, bytes, DecisionMessage | LabelMessage]]:
        """Id, result and message of what was left behind by who scores over HTTP."""
        now, found = time.time(), []
        for u in self.scoring.state.unsettled(tenant):
            if not u.origin.startswith(f"{HTTP}/".encode()):
                continue
            message = decode(u.result)
            wait_s = LEFT_S if u.origin.startswith(self._origin.encode()) else FORSAKEN_S
            if message.decided_us < int((now - wait_s) * 1e6):
                found.append((u.id, u.result, message))
        return found

    def _emit_left(self, missing: Sequence[tuple[bytes, DecisionMessage | LabelMessage]]) -> None:
        messages: list[Outgoing] = [(self._topics.decisions, _key(m), raw) for raw, m in missing]
        with self.scoring.lock:
            grouped = self.scoring.follow([m for _, m in missing])
            try:
                for some in grouped:
                    messages += alert_messages(self._topics, *some, time.time_ns() // 1000)
                self.scoring.ended(self._emitter.emit(messages).result())
            except BaseException:
                self.scoring.failed()
                raise

    def close(self) -> None:
        self._emitter.close()
        self._settling.shutdown()


def _key(message: DecisionMessage | LabelMessage) -> bytes:
    if isinstance(message, DecisionMessage):
        return key_of(message.event)
    return key_of_label(message.label, message.entities)


def _id(item: Applied) -> str:
    return item.event_id if isinstance(item, Event) else item.label.target_id


class Sweeper(Thread):
    """Sweeps now and then, until told to stop."""

    def __init__(
        self, http: HttpScoring, tenants: Callable[[], Sequence[str]], present: Present, every_s: float = 10.0
    ) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._http, self._tenants, self._present, self._every_s = http, tenants, present, every_s
        self._stop_now = Future[None]()

    def run(self) -> None:
        while True:
            try:
                self._http.sweep(self._tenants(), self._present)
            except RingwatchError as error:
                log.warning("what was left behind cannot be looked for now: %s", error)
            except Exception as error:
                log.error("the sweep failed", exc_info=error)
            try:
                self._stop_now.result(self._every_s)
            except TimeoutError:
                continue
            return

    def stop(self) -> None:
        self._stop_now.set_result(None)
        self.join()
