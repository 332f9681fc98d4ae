"""Keys of subjects in the ledger's database: found, made with the first event of a subject, destroyed with what they sealed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, delete, select

from ledger import tables as t
from ledger.insert import Inserter, insert_into
from ledger.personal import (
    HINT,
    NONCE_BYTES,
    MasterKey,
    Sealer,
    SubjectKey,
    decode_event,
    erased,
    is_personal,
    key_id_of,
    new_key,
    opened,
    sealed_of,
    subject_of,
)
from ringwatch.errors import BadInput
from ringwatch.model import Event

Subject = tuple[str, str]
"""Tenant and user; without the latter of events that have none."""
Body = Callable[[Event, bytes], bytes]
"""What is stored of an event, from it and its plain encoding."""
_ERASURES = "erasures"
"""Counter, made with the table of keys."""
_CHECK = ("", "")
"""Its key tells one master key from another; no tenant has this name."""
_KEPT = 50_000
_AT_ONCE = 500


class SubjectKeys:
    """Of one database, for one process; without a master key events are stored plain, and sealed ones cannot be read.

    Readers, any number of threads: whether a key is still there is asked with every read, only unwrapping it is saved. The writer, one
    thread: asks in each transaction whether anything was erased since, and who erases waits for transactions that are under way, so that
    nothing is sealed by a key that is gone.
    """

    def __init__(self, master: MasterKey | None) -> None:
        self._master = master
        self._written: dict[Subject, SubjectKey] = {}
        self._unwrapped: dict[bytes, SubjectKey] = {}
        self._erasures = 0
        self._is_plain = False

    def check(self, connection: Connection, insert: Inserter) -> None:
        """Whether this master key is the database's; where it has none yet, it is from now on. Raises BadInput."""
        if self._master is not None:
            self._make(connection, insert, [_CHECK])

    def sealing(self, connection: Connection, insert: Inserter, events: Iterable[Event]) -> tuple[Body, Keys]:
        """How events are stored in this transaction, and the keys for `committed` once it is. Keys that are missing are made in it; two
        writers take the one that was there first."""
        if self._master is None:
            self._must_be_plain(connection)
            return _plain, {}
        personal = [(e.tenant, subject_of(e)) for e in events if is_personal(e)]
        if not personal:
            return _plain, {}
        subjects = set(personal)
        self._forget_erased(insert)
        known = self._written
        keys = {subject: known[subject] for subject in subjects if subject in known}
        if len(keys) < len(subjects):
            keys |= self._make(connection, insert, sorted(subjects - keys.keys()))

        return _sealing(keys, len(personal)), keys

    def committed(self, keys: Keys) -> None:
        if len(self._written) + len(keys) > _KEPT:
            self._written.clear()
        self._written |= keys

    def events(self, connection: Connection, bodies: Sequence[bytes]) -> list[Event]:
        """Stored events with their personal fields; marked where these were erased."""
        events = [decode_event(body) for body in bodies]
        sealed = [(i, sealed) for i, body in enumerate(bodies) if (sealed := sealed_of(body))]
        if sealed:
            keys = self._there(connection, {(events[i].tenant, subject_of(events[i])) for i, _ in sealed})
            for i, what in sealed:
                key = keys.get((events[i].tenant, subject_of(events[i])))
                whole = key is not None and key.key_id == key_id_of(what)
                events[i] = opened(events[i], what, key) if whole and key is not None else erased(events[i])
        return events

    def _make(self, connection: Connection, insert: Inserter, subjects: Sequence[Subject]) -> Keys:
        """Keys of subjects, in order; new ones where there are none."""
        assert self._master is not None
        found = self._there(connection, subjects)
        rows = []
        for subject in subjects:
            if subject not in found:
                key = new_key()
                rows.append((*subject, key.key_id, self._master.wrapped(*subject, key)))
        if rows:
            insert(t.personal_keys, rows, "leave")
            found |= self._there(connection, [row[:2] for row in rows])
        return found

    def _there(self, connection: Connection, subjects: Iterable[Subject]) -> Keys:
        if self._master is None:
            raise BadInput("personal fields are sealed here, and there is no personal key", hint=HINT)
        found: Keys = {}
        c = t.personal_keys.c
        of_tenant: dict[str, list[str]] = {}
        for tenant, subject in subjects:
            of_tenant.setdefault(tenant, []).append(subject)
        for tenant, names in of_tenant.items():
            for start in range(0, len(names), _AT_ONCE):
                some = c.tenant == tenant, c.subject.in_(names[start : start + _AT_ONCE])
                rows = connection.execute(select(c.subject, c.key_id, c.wrapped).where(*some))
                found |= {(tenant, name): self._unwrap(tenant, name, id_, wrapped) for name, id_, wrapped in rows}
        return found

    def _unwrap(self, tenant: str, subject: str, key_id: bytes, wrapped: bytes) -> SubjectKey:
        known = self._unwrapped.get(wrapped)
        if known is None:
            assert self._master is not None
            known = self._master.unwrapped(tenant, subject, key_id, wrapped)
            if len(self._unwrapped) >= _KEPT:
                self._unwrapped.clear()
            self._unwrapped[wrapped] = known
        return known

    def _forget_erased(self, insert: Inserter) -> None:
        erasures = insert.held(_ERASURES)
        if erasures != self._erasures:
            self._written.clear()
            self._erasures = erasures

    def _must_be_plain(self, connection: Connection) -> None:
        """Raises BadInput where others seal."""
        c = t.personal_keys.c
        if not self._is_plain and connection.scalar(select(c.key_id).where(c.tenant == "")) is not None:
            raise BadInput("personal fields are sealed here, and there is no personal key", hint=HINT)
        self._is_plain = True


Keys = dict[Subject, SubjectKey]


def destroy(connection: Connection, subject: Subject) -> bool:
    """Whether there was a key. Waits for the transactions of those who write events, and holds the next ones up to its end."""
    c = t.personal_keys.c
    first = insert_into(connection.dialect, t.counters).values(name=_ERASURES, value=1)
    connection.execute(first.on_conflict_do_update(index_elements=["name"], set_={"value": t.counters.c.value + 1}))
    gone = delete(t.personal_keys).where(c.tenant == subject[0], c.subject == subject[1])
    return connection.execute(gone).rowcount > 0


def has_key(connection: Connection, subject: Subject) -> bool:
    c = t.personal_keys.c
    mine = select(c.key_id).where(c.tenant == subject[0], c.subject == subject[1])
    return connection.scalar(mine) is not None


def _sealing(keys: Keys, events: int) -> Body:
    """For at most so many events with personal fields."""
    sealers: dict[Subject, Sealer] = {}
    random, at = os.urandom(NONCE_BYTES * events), 0

    def body(event: Event, plain: bytes) -> bytes:
        nonlocal at
        if not is_personal(event):
            return plain
        subject = event.tenant, subject_of(event)
        sealer = sealers.get(subject)
        if sealer is None:
            sealer = sealers[subject] = Sealer(keys[subject])
        at += NONCE_BYTES
        return sealer.body(event, random[at - NONCE_BYTES : at])

    return body


def _plain(event: Event, body: bytes) -> bytes:
    return body
