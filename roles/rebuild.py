"""State from the decisions: the last state snapshot and a replay of what was decided since, by the same kernel.

While it runs, scoring over HTTP goes on with what there is and says so (`state_rebuilding`); scoring from Kafka waits. At the end writers are
held for a moment, what was decided meanwhile is replayed too, and the store is loaded with the result.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import msgspec

from bus.messages import DecisionMessage, LabelMessage
from features.columns import Applied, ResolvedLabel
from features.memory_state import MemoryState
from features.redis_rebuild import Rebuild
from features.redis_state import RedisState
from features.schema import FeatureSchema
from features.shared_state import Entry
from ingest.shared_scoring import entry_of
from ringwatch.errors import Conflict, Corrupt, Unavailable
from roles.decisions_log import DecisionsLog, Logged, batches

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

    def take(self, batch: list[Logged]) -> dict[str, list[Entry]]:
        """Apply messages in order; tenant -> what was applied, with ids."""
        taken: dict[str, list[Entry]] = {}
        for _, _, message in batch:
            entry = _entry(message)
            taken.setdefault(_tenant(message), []).append(entry)
        for tenant, entries in taken.items():
            state = self.states.get(tenant)
            if state is None:
                state = self.states[tenant] = self._new()
            state.apply([e.item for e in entries])
        self.positions |= {partition: offset + 1 for partition, offset, _ in batch}
        self.messages += len(batch)
        return taken

    def catch_up(self, decisions: DecisionsLog, told: Progress = lambda n: None) -> dict[str, list[Entry]]:
        """To the end of the topic; what was applied, by tenant."""
        taken: dict[str, list[Entry]] = {}
        for batch in batches(decisions.read(self.positions), 2000):
            for tenant, entries in self.take(batch).items():
                taken.setdefault(tenant, []).extend(entries)
            told(self.messages)
        return taken


def rebuild(
    state: RedisState, decisions: DecisionsLog, replayed: Replayed, owner: str, told: Progress = lambda n: None
) -> bool:
    """Rebuild the shared state; False when another process does it. Raises Unavailable; then it begins anew next time."""
    work = Rebuild(state)
    if not work.begin_rebuild(owner, ttl_s=_CLAIM_S):
        return False
    renewing = _Renewing(work, told)
    try:
        if not replayed.positions:
            replayed.load()
        marks = replayed.catch_up(decisions, renewing)
        work.hold(sorted({*replayed.states, *state.tenants()}))
        _settled(decisions, replayed, marks, renewing)
        for tenant, memory in sorted(replayed.states.items()):
            work.load(tenant, memory)
            work.mark(tenant, ((e.id, e.body, e.origin) for e in marks.get(tenant, ())))
        work.finish()
    except BaseException:
        with suppress(Unavailable, Conflict):
            work.abandon()
        raise
    log.warning("the state was rebuilt from %d messages of the decisions", replayed.messages)
    return True


def _settled(decisions: DecisionsLog, replayed: Replayed, marks: dict[str, list[Entry]], told: Progress) -> None:
    """Replay until nothing more comes from what was written before the writers were held."""
    began = quiet = monotonic()
    while monotonic() - quiet < _QUIET_S and monotonic() - began < _MOST_QUIET_S:
        more = replayed.catch_up(decisions, told)
        for tenant, entries in more.items():
            marks.setdefault(tenant, []).extend(entries)
        if more:
            quiet = monotonic()
        sleep(0.2)


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


def _entry(message: DecisionMessage | LabelMessage) -> Entry:
    item: Applied = (
        message.event if isinstance(message, DecisionMessage) else ResolvedLabel(message.label, message.entities)
    )
    return entry_of(item, message.origin.encode())


def _tenant(message: DecisionMessage | LabelMessage) -> str:
    return message.tenant if isinstance(message, DecisionMessage) else message.label.tenant
