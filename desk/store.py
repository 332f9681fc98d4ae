"""What people did and decided, on SQL: SQLite beside the ledger (a file of its own, so that nobody waits for the scoring), or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, select, text
from sqlalchemy.dialects import postgresql, sqlite

from desk import tables as t
from desk.chain import BEGIN, Checked, Entry, Head, Key, check
from ledger.cut_off import cut_off
from ledger.engine import errors, migrate, open_engine
from ledger.postgres import PostgresAccess
from ringwatch import deadline
from ringwatch.errors import BadInput

_CHUNK = 1000
_MAKING_LOCK = 7_411_002
"""Advisory lock of PostgreSQL under which tables are made."""


class Act(msgspec.Struct, frozen=True):
    """What somebody does, before it has its place in the chain."""

    tenant: str
    who: str
    did: str
    kind: str
    target: str
    old: object = None
    new: object = None
    """What JSON can say; None for nothing."""
    why: str = ""


class Desk:
    """Safe to call from several threads and processes. `clock`: microseconds since 1970. Without a key nothing can be recorded or verified."""

    def __init__(
        self, url: str, key: Key | None, clock: Callable[[], int], access: PostgresAccess | None = None
    ) -> None:
        self._engine = open_engine(url, access)
        self._given, self.clock = key, clock
        self._on_postgres = self._engine.dialect.name == "postgresql"

    def prepare(self) -> None:
        """Migrate to the newest version. Idempotent; of several at once one does it and the others wait."""
        with errors(self._engine, "be prepared"), self._engine.begin() as connection:
            self._alone(connection)
            migrate(connection, "desk:migrations")

    @property
    def records(self) -> bool:
        """Whether there is a key to record anything with."""
        return self._given is not None

    @property
    def _key(self) -> Key:
        if self._given is None:
            raise BadInput("there is no audit key here", hint="RINGWATCH_AUDIT_KEY_FILE names it")
        return self._given

    def token(self, tenant: str, kind: str, id_: str) -> str:
        """See `Key.token`."""
        return self._key.token(tenant, kind, id_)

    def _alone(self, connection: Connection) -> None:
        if self._on_postgres:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MAKING_LOCK})

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside, on SQLite; on PostgreSQL chains are held one by one."""
        deadline.begin_to_write()
        with errors(self._engine, "be written"), self._engine.connect() as connection:
            if not self._on_postgres:
                connection.execute(text("BEGIN IMMEDIATE"))
            with connection.begin() if self._on_postgres else _ended(connection):
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with errors(self._engine, "be read"), self._engine.connect() as connection, cut_off(connection):
            yield connection

    def number(self, connection: Connection, name: str) -> int:
        """The next of a counter, held to the end of the transaction of `writing`."""
        dialect: Any = postgresql if self._on_postgres else sqlite
        new = dialect.insert(t.numbers).values(name=name, value=1)
        raised = new.on_conflict_do_update(index_elements=["name"], set_={"value": t.numbers.c.value + 1})
        return int(connection.execute(raised.returning(t.numbers.c.value)).scalar_one())

    def record(self, *acts: Act) -> list[Entry]:
        """All or none, in order."""
        with self.writing() as connection:
            return [self.append(connection, act) for act in acts]

    def append(self, connection: Connection, act: Act) -> Entry:
        """Within a transaction of `writing`: with what was done, or not at all."""
        c = t.audit_heads.c
        dialect: Any = postgresql if self._on_postgres else sqlite
        first = Head(act.tenant, 0, BEGIN)
        begin = dialect.insert(t.audit_heads).values(
            tenant=act.tenant, number=0, hash=BEGIN, seal=self._key.seal(first)
        )
        connection.execute(begin.on_conflict_do_nothing())
        number, before = connection.execute(
            select(c.number, c.hash).where(c.tenant == act.tenant).with_for_update()
        ).one()
        open_ = Entry(
            act.tenant, number + 1, self.clock(), act.who, act.did, act.kind, act.target, _json(act.old), _json(act.new), act.why, before, ""
        )  # fmt: skip
        entry = msgspec.structs.replace(open_, hash=self._key.hash(open_))
        connection.execute(t.audit.insert().values(msgspec.structs.asdict(entry)))
        head = Head(entry.tenant, entry.number, entry.hash)
        changed = t.audit_heads.update().where(c.tenant == act.tenant)
        connection.execute(changed.values(number=head.number, hash=head.hash, seal=self._key.seal(head)))
        return entry

    def entries(
        self, tenant: str, *, limit: int, before: int | None = None, kind: str | None = None, target: str | None = None
    ) -> list[Entry]:
        """The newest first; `before`: an entry's number to go on behind."""
        c = t.audit.c
        query = select(t.audit).where(c.tenant == tenant).order_by(c.number.desc()).limit(limit)
        for column, value in ((c.kind, kind), (c.target, target)):
            query = query if value is None else query.where(column == value)
        query = query if before is None else query.where(c.number < before)
        with self.reading() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def tenants(self) -> list[str]:
        """That have a chain, or entries."""
        with errors(self._engine, "be read"), self._engine.connect() as connection:
            found = {
                name
                for column in (t.audit.c, t.audit_heads.c)
                for (name,) in connection.execute(select(column.tenant).distinct())
            }
        return sorted(found)

    def head(self, tenant: str) -> Head:
        """Where the chain ends; number 0 where nobody has done anything."""
        c = t.audit_heads.c
        with errors(self._engine, "be read"), self._engine.connect() as connection:
            row = connection.execute(select(c.number, c.hash).where(c.tenant == tenant)).first()
        return Head(tenant, 0, BEGIN) if row is None else Head(tenant, row.number, row.hash)

    def verify(
        self, tenant: str, noted: Head | None = None, progress: Callable[[int], None] = lambda n: None
    ) -> Checked:
        """The whole chain, as it is at one moment. `progress` is told how many entries were looked at."""
        with errors(self._engine, "be read"), self._engine.connect() as connection:
            if self._on_postgres:
                connection.execution_options(isolation_level="REPEATABLE READ")
            else:
                connection.execute(text("BEGIN"))
            heads = connection.execute(select(t.audit_heads).where(t.audit_heads.c.tenant == tenant)).mappings().first()
            head = None if heads is None else Head(tenant, heads["number"], heads["hash"])
            entries = self._chain(connection, tenant, progress)
            return check(self._key, tenant, entries, head, "" if heads is None else heads["seal"], noted)

    @staticmethod
    def _chain(connection: Connection, tenant: str, progress: Callable[[int], None]) -> Iterator[Entry]:
        query = select(t.audit).where(t.audit.c.tenant == tenant).order_by(t.audit.c.number)
        for n, row in enumerate(connection.execution_options(yield_per=_CHUNK).execute(query), 1):
            yield _entry(row)
            if n % _CHUNK == 0:
                progress(n)

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _ended(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value, order="deterministic").decode()


def _entry(row: Any) -> Entry:
    """The table's columns are in the order of its fields."""
    return Entry(*row)


def shown(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """For programs: `old` and `new` as JSON, not as text."""
    found = []
    for entry in entries:
        plain = msgspec.structs.asdict(entry)
        found.append({**plain, **{k: msgspec.json.decode(plain[k]) if plain[k] else None for k in ("old", "new")}})
    return found
