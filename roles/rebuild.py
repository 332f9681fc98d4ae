"""State from the decisions: the last state snapshot and a replay of what was decided since, by the same kernel.

While it runs, scoring over HTTP goes on with what there is and says so (`state_rebuilding`); scoring from Kafka waits. At the end writers are
held for a moment, what was decided meanwhile is replayed too, and the store is loaded with the result.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time

import msgspec

from bus.messages import DecisionMessage, LabelMessage, decode
from features.columns import Applied, ResolvedLabel
from features.memory_state import MemoryState
from features.redis_rebuild import Rebuild
from features.redis_state import RedisState
from features.schema import FeatureSchema
from ingest.shared_scoring import entry_of
from ringwatch.errors import BadInput, Conflict, Corrupt, Unavailable
from roles.logs import DecisionsLog, Logged, batches

log = logging.getLogger("ringwatch.rebuild")
_MARKER = "state.json"
_QUIET_S = 2.0
"""Nothing new on the topic for so long while writers are held: all that was begun is out."""
_MOST_QUIET_S = 15.0
_CLAIM_S = 60
Progress = Callable[[int], None]
"""Called with the messages replayed so far."""


class _Position(msgspec.Struct, frozen=True):
    positions: dict[int, int]
    tenants: list[str]
    """In the order of their files."""
    schema: str


class Replayed:
    """State per tenant in memory as of some place of the decisions topic; kept in a folder between runs."""

    def __init__(self, folder: Path, schema: FeatureSchema, *, max_entities: int, late_full_us: int) -> None:
        self._folder = folder
        self._schema = schema
        self._new: Callable[[], MemoryState] = lambda: MemoryState(
            schema, max_entities=max_entities, late_full_us=late_full_us
        )
        self.states: dict[str, MemoryState] = {}
        self.positions: dict[int, int] = {}
        self.messages = 0
        self.missing = 0
        """Offsets that the topic kept no longer when it was asked."""

    def entities(self) -> dict[str, int]:
        """tenant -> entities known."""
        return {tenant: state.stats()["entities"] for tenant, state in self.states.items()}

    def load(self) -> None:
        """The last snapshot; empty without one, or where it is of another feature schema. Raises Corrupt for a damaged one."""
        try:
            kept = msgspec.json.decode((self._folder / _MARKER).read_bytes(), type=_Position)
        except FileNotFoundError:
            return
        except msgspec.MsgspecError as error:
            raise Corrupt(
                f"{self._folder / _MARKER} cannot be read: {error}", hint="remove the folder to replay all"
            ) from None
        if kept.schema != self._schema.hash:
            log.warning("the state snapshot is of another feature schema; everything is replayed")
            return
        for number, tenant in enumerate(kept.tenants):
            state = self._new()
            state.restore(self._folder / f"{number}.bin")
            self.states[tenant] = state
        self.positions = dict(kept.positions)

    def save(self) -> None:
        """Whole or not at all."""
        part = self._folder.with_name(self._folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tenants = sorted(self.states)
        for number, tenant in enumerate(tenants):
            self.states[tenant].snapshot(part / f"{number}.bin", position=self.messages)
        (part / _MARKER).write_bytes(msgspec.json.encode(_Position(self.positions, tenants, self._schema.hash)))
        shutil.rmtree(self._folder, ignore_errors=True)
        part.rename(self._folder)

    def take(self, batch: list[Logged]) -> None:
        """Apply messages in order. Raises BadInput when there is no room for all entities."""
        self.add([message for _, _, message in batch])
        self.positions |= {partition: offset + 1 for partition, offset, _ in batch}
        self.messages += len(batch)

    def add(self, messages: Sequence[DecisionMessage | LabelMessage]) -> None:
        """As `take`, of messages that have no place on the topic."""
        taken: dict[str, list[Applied]] = {}
        for message in messages:
            taken.setdefault(_tenant(message), []).append(_item(message))
        for tenant, items in taken.items():
            state = self.states.get(tenant)
            if state is None:
                state = self.states[tenant] = self._new()
            state.apply(items)
            if state.stats()["evicted"]:
                raise BadInput(
                    f"tenant {tenant!r} has more entities than RINGWATCH_MAX_ENTITIES: {state.stats()['capacity']:,}",
                    hint="raise it where the state is rebuilt: it is memory for the time of the rebuild, 1 KB each",
                )

    def catch_up(self, decisions: DecisionsLog, told: Progress = lambda n: None, marks: Marks | None = None) -> int:
        """To the end of the topic; how many messages that was. Their ids go to `marks`."""
        before = self.messages
        for batch in batches(decisions.read(self.positions), 2000):
            self.take(batch)
            if marks is not None:
                marks.add(batch)
            told(self.messages)
        return self.messages - before


class Marks:
    """Ids that were decided since some time, by the wall clock: what a rebuilt state must recognise. They are written as they are read."""

    def __init__(self, since_us: int, work: Rebuild) -> None:
        self.since_us = since_us
        self._work = work

    def add(self, batch: list[Logged]) -> None:
        of: dict[str, list[tuple[str, bytes, bytes]]] = {}
        for _, _, message in batch:
            if message.decided_us >= self.since_us:
                entry = entry_of(_item(message), message.origin.encode())
                of.setdefault(_tenant(message), []).append((entry.id, entry.body, entry.origin))
        for tenant, entries in of.items():
            self._work.mark(tenant, entries)

    def add_before(self, decisions: DecisionsLog, positions: Mapping[int, int]) -> None:
        """Those of before what is replayed."""
        for batch in batches(decisions.read_since(self.since_us), 2000):
            self.add([(p, offset, m) for p, offset, m in batch if offset < positions.get(p, 0)])


def rebuild(
    state: RedisState, decisions: DecisionsLog, replayed: Replayed, owner: str, told: Progress = lambda n: None
) -> bool:
    """Rebuild the shared state; False when another process does it. Raises Unavailable; then it begins anew next time."""
    work = Rebuild(state)
    if not work.begin_rebuild(owner, ttl_s=_CLAIM_S):
        return False
    renewing = _Renewing(work, told)
    marks = Marks(int((time() - state.lives.dedupe_s) * 1e6), work)
    try:
        if not replayed.positions:
            replayed.load()
        tell_missing(decisions, replayed)
        if replayed.positions:
            marks.add_before(decisions, replayed.positions)
        replayed.catch_up(decisions, renewing, marks)
        work.hold(sorted({*replayed.states, *state.tenants()}))
        _settled(decisions, replayed, marks, renewing)
        for tenant in state.tenants():
            _add_left(state, decisions, replayed, tenant)
        for tenant, memory in sorted(replayed.states.items()):
            work.load(tenant, memory)
        work.finish()
    except BaseException:
        with suppress(Unavailable, Conflict):
            work.abandon()
        raise
    log.warning("the state was rebuilt from %d messages of the decisions", replayed.messages)
    return True


def tell_missing(decisions: DecisionsLog, replayed: Replayed) -> None:
    """Say so where the topic does not reach back to what was replayed before."""
    replayed.missing = decisions.missing(replayed.positions)
    if replayed.missing:
        log.error(
            "the state is rebuilt without %d messages that are no longer on the decisions topic: what was known from them alone is lost; "
            "run `ringwatch state snapshot` more often than the topic keeps them", replayed.missing,
        )  # fmt: skip


def _settled(decisions: DecisionsLog, replayed: Replayed, marks: Marks, told: Progress) -> None:
    """Replay until nothing more comes from what was written before the writers were held."""
    began = quiet = monotonic()
    while monotonic() - quiet < _QUIET_S and monotonic() - began < _MOST_QUIET_S:
        if replayed.catch_up(decisions, told, marks):
            quiet = monotonic()
        sleep(0.2)


def _add_left(state: RedisState, decisions: DecisionsLog, replayed: Replayed, tenant: str) -> None:
    """What was decided and is not among what was replayed: it is on the topic later, and known then, so that it must count now."""
    left = {u.id: decode(u.result) for u in state.unsettled(tenant)}
    if not left:
        return
    since_us = min(m.decided_us for m in left.values())
    out = decisions.present(since_us, {(tenant, id_) for id_ in left}, replayed.positions)
    missing = [m for id_, m in left.items() if (tenant, id_) not in out]
    replayed.add(sorted(missing, key=lambda m: m.decided_us))


class _Renewing:
    """Renews the claim while it is told of progress."""

    def __init__(self, work: Rebuild, told: Progress) -> None:
        self._work, self._told = work, told
        self._due = monotonic() + 10.0

    def __call__(self, n: int) -> None:
        self._told(n)
        if monotonic() > self._due:
            self._work.renew()
            self._due = monotonic() + 10.0


def _item(message: DecisionMessage | LabelMessage) -> Applied:
    return message.event if isinstance(message, DecisionMessage) else ResolvedLabel(message.label, message.entities)


def _tenant(message: DecisionMessage | LabelMessage) -> str:
    return message.tenant if isinstance(message, DecisionMessage) else message.label.tenant
