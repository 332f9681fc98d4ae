"""The embedded graph: LadybugDB, one file, owned by one process.

LadybugDB pays dearly for changing a value in place (25 us a column and row, growing with every transaction until the
next checkpoint) and little for adding a relationship (9 us). So a batch only adds: a `Linked` row a link, and a `Tally`
self-loop for what links do not say about an entity. Reads merge the rows of a pair (earliest, latest, sums). Once as
many rows were added as the store held, they are folded into one row a pair and written anew in bulk in one transaction,
so that the cost a link stays flat (`docs/adr/0004-ladybugdb-writes.md`, `bench/graph_growth.py`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import ladybug
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cypher.load import load
from graph.ladybug_rows import rows_of
from graph.reads import GraphReads, T
from graph.store import EntityRef, GraphBatch, LinkFilter, StoredEntity
from graph.traverse import LinkReader, LinksOf, StoredLink, most_recent
from ringwatch import deadline
from ringwatch.errors import Conflict, Corrupt, Unavailable
from ringwatch.model import Kind

SCHEMA = ("schema_entity", "schema_linked", "schema_tally", "schema_applied", "schema_layout")
_LONGEST_S = 3600.0
FOLDED = ("linked", "tally")
MAX_ROWS_READ = 2_000_000
"""Safety bound of one read; a walk that meets it says so."""

DIGEST_PAGE = 200_000
"""Rows read at once for a digest."""

CHECKPOINT_ROWS = 100_000
"""Rows added between checkpoints. Until one, LadybugDB holds them in memory (500 bytes a row) and, opened after a crash,
replays them from its log (30 us a row)."""

log = logging.getLogger(__name__)


class LadybugGraph(GraphReads):
    """`GraphStore` on a LadybugDB file. Safe to call from several threads: calls take turns.

    `fold_min_rows`: rows added before the first fold; `slice_rows`: rows merged at once. `buffer_bytes`: most memory the engine takes for pages.
    Raises `Conflict` when another process has the file open, `Corrupt` when it is not a LadybugDB file.
    """

    def __init__(
        self,
        path: Path,
        *,
        fold_min_rows: int = 400_000,
        slice_rows: int = 1_000_000,
        buffer_bytes: int = 2 << 30,
        threads: int = 0,
    ) -> None:
        self._path = path
        self._text = load("ladybug")
        self._lock = threading.RLock()
        self._fold_min_rows = fold_min_rows
        self._slice_rows = slice_rows
        self._database, self._connection = _open(path, buffer_bytes, threads)
        self._reading = ladybug.Connection(self._database, num_threads=1)
        self._positions: dict[str, int] = {}
        self._added_rows = 0
        self._checkpointed_rows = 0
        self._folded_rows = 0
        self._closed = False

    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Create the tables. Kinds are values of a column here, so a newly declared kind needs no migration."""
        with self._lock:
            for name in SCHEMA:
                self._run(name)
            self._discard_copies()
            stored = self._rows("read_layout")
            self._folded_rows = int(stored[0]["folded_rows"]) if stored else 0
            self._added_rows = max(0, self._count_rows() - self._folded_rows)

    def apply(self, batch: GraphBatch) -> bool:
        with self._lock:
            if not batch.missing_at(self.applied_position(batch.partition)):
                return False
            rows = rows_of(batch)
            with self._transaction():
                self._create_missing(rows.entities)
                if len(rows.tallies):
                    self._run("write_tallies", rows=rows.tallies)
                if len(rows.links):
                    self._run("write_links", rows=rows.links)
                self._run("write_position", partition=batch.partition, position=batch.position)
            self._positions[batch.partition] = batch.position
            self._added_rows += len(rows.tallies) + len(rows.links)
            self._tidy()
            return True

    def applied_position(self, partition: str = "0") -> int:
        with self._lock:
            if partition not in self._positions:
                stored = self._rows("read_position", partition=partition)
                self._positions[partition] = int(stored[0]["position"]) if stored else -1
            return self._positions[partition]

    def _asking(self, name: str, work: Callable[[LinkReader], T]) -> T:
        while not self._lock.acquire(timeout=deadline.left_s(_LONGEST_S)):
            log.warning("a read of the graph has waited for an hour")
        try:
            return work(_Reader(self))
        finally:
            self._lock.release()

    def counts(self) -> dict[str, int]:
        with self._lock:
            kinds = {str(row["kind"]): int(row["entities"]) for row in self._rows("read_kind_counts")}
            links = int(self._rows("read_link_count")[0]["links"])
        return {
            "entities": sum(kinds.values()),
            "links": links,
            **{f"entities.{kind}": kinds[kind] for kind in sorted(kinds)},
        }

    def logical_digest(self) -> str:
        """Hash over all entities and links, merged and in order: equal graphs have equal digests, however written."""
        digest = hashlib.sha256()
        with self._lock:
            for read, key in (("read_all_entities", ("uid",)), ("read_all_links", ("user", "other"))):
                last = dict.fromkeys(key, "")
                while rows := self._rows(read, **last, limit=DIGEST_PAGE):
                    for row in rows:
                        digest.update(repr(tuple(row.values())).encode())
                    last = {name: rows[-1][name] for name in key}
        return digest.hexdigest()

    def fold(self) -> None:
        """Merge the rows of each pair into one, written in bulk, and put them in the place of the old ones.

        LadybugDB does not recover a `COPY` after a crash until a checkpoint has run (0.22, tested), so the copies are
        checkpointed before they replace the tables; copies a crash left behind are discarded by `prepare`. A slice of the
        users at a time, so that the memory taken does not grow with the graph.
        """
        with self._lock:
            self._discard_copies()
            with self._transaction():
                self._each_table("create")
            slices = 1 + self._count_rows() // self._slice_rows
            for part in range(slices):
                for table in FOLDED:
                    self._copy(f"fold_{table}_copy", slices, part)
                self._run("checkpoint")
            with self._transaction():
                self._each_table("drop", "rename")
                rows = self._count_rows()
                self._run("write_layout", rows=rows)
            self._folded_rows, self._added_rows, self._checkpointed_rows = rows, 0, 0
            self._run("checkpoint")

    def close(self) -> None:
        """Checkpoint and release the file. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._run("checkpoint")
            finally:
                self._reading.close()
                self._connection.close()
                self._database.close()

    def _create_missing(self, entities: pa.Table) -> None:
        if not len(entities):
            return
        known = self._run("read_known", rows=entities.select(["i", "uid"]), limit=len(entities)).get_as_arrow(1 << 16)
        missing = np.ones(len(entities), np.bool_)
        missing[known["i"].to_numpy()] = False
        if missing.any():
            self._run("write_entities", rows=entities.filter(pa.array(missing)))

    def _each_table(self, *steps: str) -> None:
        for table in FOLDED:
            for step in steps:
                self._run(f"fold_{table}_{step}")

    def _discard_copies(self) -> None:
        self._each_table("discard")

    def _tidy(self) -> None:
        """Fold or checkpoint when enough was added. A failure leaves the content as it is and is tried again later."""
        try:
            if self._added_rows > max(self._fold_min_rows, self._folded_rows):
                self.fold()
            elif self._added_rows - self._checkpointed_rows > CHECKPOINT_ROWS:
                self._run("checkpoint")
                self._checkpointed_rows = self._added_rows
        except Unavailable as error:
            log.warning("graph fold postponed, reads and writes go on: %s", error)
            self._folded_rows += self._added_rows
            self._added_rows = self._checkpointed_rows = 0

    def _count_rows(self) -> int:
        return sum(int(self._rows(f"read_{table}_rows")[0]["rows"]) for table in FOLDED)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit on success. LadybugDB rolls back by itself when a statement fails; other errors roll back here."""
        self._run("begin")
        try:
            yield
        except Unavailable:
            raise
        except BaseException:
            self._run("rollback")
            raise
        self._run("commit")

    def _run(self, name: str, **params: Any) -> Any:
        """Execute a statement on the writing connection, inside its transaction if one is open."""
        return self._execute(self._connection, name, params)

    def _execute(self, connection: Any, name: str, params: dict[str, Any]) -> Any:
        return self._guarded(name, lambda: connection.execute(self._text[name], params))

    def _guarded(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except RuntimeError as error:
            raise Unavailable(
                f"graph query {name} failed on {self._path}: {str(error).splitlines()[0]}",
                hint="check free disk space and memory, and that no other program changed the file",
                query=name,
            ) from error

    def _copy(self, name: str, slices: int, part: int) -> None:
        """A `COPY` with its numbers written into it: prepared ones end the process on their third use (0.22, tested)."""
        text = self._text[name].replace("$slices", str(slices)).replace("$slice", str(part))
        self._guarded(name, lambda: self._connection.execute(text))

    def _rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._run(name, **params).get_as_arrow().to_pylist()
        return rows

    def _read(self, name: str, **params: Any) -> pa.Table:
        """A read on the reading connection: committed content only, one thread, within the time of the answer."""
        if not deadline.is_set():
            return self._execute(self._reading, name, params).get_as_arrow(1 << 16)
        self._reading.set_query_timeout(ceil(deadline.left_s(_LONGEST_S) * 1e3))
        try:
            return self._execute(self._reading, name, params).get_as_arrow(1 << 16)
        except Unavailable:
            deadline.check()
            raise
        finally:
            self._reading.set_query_timeout(0)


class _Reader:
    """What a walk asks of the store; the caller holds the store's lock."""

    def __init__(self, store: LadybugGraph) -> None:
        self._store = store

    def links_of(self, uids: Sequence[str], *, cap: int, wanted: LinkFilter) -> Mapping[str, LinksOf]:
        found: list[list[StoredLink]] = [[] for _ in uids]
        degrees, fitting = [0] * len(uids), [0] * len(uids)
        for way, outgoing in (("out", True), ("in", False)):
            table = self._read(f"read_links_{way}", uids, MAX_ROWS_READ)
            table = table.filter(table["node"].is_valid())
            _count(table, degrees)
            table = _wanted(table, wanted)
            _count(table, fitting)
            near, seen = table["i"].to_numpy(), table["last_seen"].to_numpy()
            kept = table.take(pa.array(_recent_rows(near, seen, cap)))
            ends = self._ends(f"read_ends_{way}", uids, kept)
            for i, node, *values in zip(*(column.to_pylist() for column in kept.columns), strict=True):
                found[i].append(StoredLink(ends[node], outgoing, *values))
        return {
            uid: LinksOf(most_recent(links, cap), degree, fit)
            for uid, links, degree, fit in zip(uids, found, degrees, fitting, strict=True)
        }

    def _ends(self, name: str, uids: Sequence[str], kept: pa.Table) -> dict[int, str]:
        """uid by node of the far ends of the kept links. Fetching a uid is dear, so only these are."""
        if not len(kept):
            return {}
        oldest = kept.group_by("i").aggregate([("last_seen", "min")])
        rows = pa.table(
            {
                "uid": pa.array([uids[i] for i in oldest["i"].to_pylist()], pa.string()),
                "since": oldest["last_seen_min"],
            }
        )
        ends = self._store._read(name, rows=rows, limit=MAX_ROWS_READ)
        return dict(zip(ends["node"].to_pylist(), ends["uid"].to_pylist(), strict=True))

    def degrees(self, uids: Sequence[str]) -> Mapping[str, int]:
        degrees = dict.fromkeys(uids, 0)
        for name in ("read_degrees_out", "read_degrees_in"):
            table = self._read(name, uids, len(uids))
            for i, degree in zip(table["i"].to_pylist(), table["degree"].to_pylist(), strict=True):
                degrees[uids[i]] += degree
        return degrees

    def entities(self, uids: Sequence[str]) -> Mapping[str, StoredEntity]:
        sums = {row["i"]: row for row in self._read("read_link_sums", uids, len(uids)).to_pylist()}
        rows = self._read("read_entities", uids, len(uids)).to_pylist()
        return {uids[row["i"]]: _entity(row, sums[row["i"]]) for row in rows}

    def _read(self, name: str, uids: Sequence[str], limit: int) -> pa.Table:
        """Rows of a read over `uids`; its column `i` is the index into them."""
        rows = pa.table({"i": pa.array(range(len(uids)), pa.int64()), "uid": pa.array(uids, pa.string())})
        return self._store._read(name, rows=rows, limit=limit)


def _entity(tally: dict[str, Any], links: dict[str, Any]) -> StoredEntity:
    """An entity from its tally and its links as a shared entity; either may be missing (null), not both."""
    both = (tally, links)
    return StoredEntity(
        EntityRef(tally["tenant"], tally["kind"], tally["id"]),
        min(x["first_seen"] for x in both if x["first_seen"] is not None),
        max(x["last_seen"] for x in both if x["last_seen"] is not None),
        sum(x["events"] or 0 for x in both),
        sum(x["amount"] or 0 for x in both),
        tally["alerts"] or 0,
    )


def _count(table: pa.Table, counts: list[int]) -> None:
    """Adds the rows of each index `i`."""
    for i, n in zip(*np.unique(table["i"].to_numpy(), return_counts=True), strict=True):
        counts[i] += int(n)


def _wanted(table: pa.Table, wanted: LinkFilter) -> pa.Table:
    """The rows that are wanted, without the kind, which only links away from a user have."""
    fits = table["events"].to_numpy() >= wanted.min_events
    seen = table["last_seen"].to_numpy()
    if wanted.since_us is not None:
        fits &= seen >= wanted.since_us
    if wanted.until_us is not None:
        fits &= seen < wanted.until_us
    if "kind" in table.column_names:
        if wanted.kinds is not None:
            fits &= np.array([wanted.leads_to(kind) for kind in table["kind"].to_pylist()], bool)
        table = table.drop_columns(["kind"])
    return table if fits.all() else table.filter(pa.array(fits))


def _recent_rows(near: NDArray[np.int64], seen: NDArray[np.int64], cap: int) -> NDArray[np.int64]:
    """Rows among the `cap` latest of their entity `near`, ties at the edge included; shape (rows kept,)."""
    order = np.lexsort((-seen, near))
    starts = np.flatnonzero(np.r_[True, np.diff(near[order]) != 0]) if len(order) else np.zeros(0, np.int64)
    sizes = np.diff(np.r_[starts, len(order)])
    edge = np.repeat(seen[order][starts + np.minimum(sizes, cap) - 1], sizes)
    return order[seen[order] >= edge]


def _open(path: Path, buffer_bytes: int, threads: int) -> tuple[Any, Any]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = ladybug.Database(path, buffer_pool_size=buffer_bytes, max_num_threads=threads, auto_checkpoint=False)
        return database, ladybug.Connection(database)
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        if "lock" in text.lower():
            raise Conflict(
                f"the graph {path} is in use by another process: {text}",
                hint="one process owns a data folder; stop the other one or choose another folder",
                path=str(path),
            ) from error
        if "not a valid" in text:
            raise Corrupt(
                f"{path} is not a LadybugDB file: {text}",
                hint="move the file away and start again; the graph is rebuilt from the ledger",
                path=str(path),
            ) from error
        raise Unavailable(
            f"the graph {path} cannot be opened: {text}", hint="check the folder's permissions and free space"
        ) from error
