"""Fill a stopped Neo4j with what the graph writer would have left there, by Neo4j's own import.

Same labels, types, properties and values as `cypher/neo4j/write_entities.cypher` and `write_links.cypher` make, in the
order in which the writer would have made them, so that what belongs together lies together in the store as well. Indexes
are made by the store's own `prepare` afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from graph_stream import AMOUNT_MINOR, KINDS, TENANT, Groups, History, Ints, at_us, groups, link_keys

from graph.neo4j_names import label_of, type_of
from graph.uid import uid_prefix
from ringwatch.errors import Unavailable
from servers.java import class_path, flags, java

TIMES = "first_seen:long,last_seen:long,first_at:datetime,last_at:datetime"
NODES = f":ID,uid:string,tenant:string,kind:string,id:string,events:long,amount:long,alerts:long,{TIMES},:LABEL"
LINKS = f":START_ID,:END_ID,events:long,amount:long,fails:long,{TIMES},:TYPE"
ROWS = 250_000
"""Written at once."""
IMPORT_HEAP_MB = 1024
IMPORT_MB = 2048
"""Beside the heap."""
SAY_EVERY_S = 10.0
Say = Callable[[str], None]


class Progress:
    """Lines with the rate and the time left, one in ten seconds."""

    def __init__(self, say: Say, what: str, total: int) -> None:
        self._say, self._what, self._total = say, what, total
        self._began = self._said = time.monotonic()

    def at(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return
        self._said = now
        rate = done / (now - self._began)
        self._say(f"{self._what}: {done:,} of {self._total:,}, {rate:,.0f}/s, {(self._total - done) / rate:.0f} s left")


def fill(history: History, stop: int, events_a_batch: int, server: Path, folder: Path, say: Say) -> None:
    """The events before `stop` into the database of the stopped server in `server`; what it held is lost.

    `events_a_batch`: of the writer, who makes a batch's entities first, then its links. `folder`: where the files for the
    import lie meanwhile. Raises Unavailable when the import fails.
    """
    folder.mkdir()
    entities, links = _entities(history, stop, events_a_batch), _links(history, stop, events_a_batch)
    node_of = _node_of(entities)
    _write(folder / "nodes.csv", NODES, len(entities), lambda part: _node_columns(entities, part), say)
    _write(folder / "links.csv", LINKS, len(links), lambda part: _link_columns(links, node_of, part), say)
    _import(server, folder, say)
    shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Rows:
    """Entities, or links from `user` to an entity, in the order in which the writer would make them."""

    kind: Ints
    """Place in `KINDS`."""
    number: Ints
    user: Ints
    groups: Groups

    def __len__(self) -> int:
        return len(self.kind)


def _entities(history: History, stop: int, events_a_batch: int) -> Rows:
    return _rows(history, {kind: history.columns[kind][:stop] for kind in KINDS}, events_a_batch)


def _links(history: History, stop: int, events_a_batch: int) -> Rows:
    return _rows(history, link_keys({kind: history.columns[kind][:stop] for kind in KINDS}), events_a_batch)


def _rows(history: History, keys: Mapping[str, Ints], events_a_batch: int) -> Rows:
    of = {kind: groups(key) for kind, key in keys.items()}
    first, last, events = (
        np.concatenate([getattr(g, name) for g in of.values()]) for name in ("first", "last", "events")
    )
    kind = np.concatenate([np.full(len(g.first), KINDS.index(kind)) for kind, g in of.items()])
    number = np.concatenate([history.columns[kind][g.first] for kind, g in of.items()])
    order = np.lexsort((number, kind, first // events_a_batch))
    user = history.columns["user"][first[order]]
    return Rows(kind[order], number[order], user, Groups(first[order], last[order], events[order]))


def _node_of(entities: Rows) -> list[Ints]:
    """For each kind: number -> id of the node in the import."""
    found = []
    for kind in range(len(KINDS)):
        rows = np.flatnonzero(entities.kind == kind)
        ids = np.zeros(int(entities.number[rows].max()) + 1, np.int64)
        ids[entities.number[rows]] = rows
        found.append(ids)
    return found


def _node_columns(entities: Rows, part: slice) -> list[pa.Array]:
    kind = pa.array(entities.kind[part])
    prefixes = pc.take(pa.array([uid_prefix(TENANT, name) for name in KINDS]), kind)
    ids = _joined(pc.take(pa.array([f"{name}-" for name in KINDS]), kind), _text(entities.number[part]))
    rows = range(len(entities))[part]
    return [
        pa.array(np.arange(rows.start, rows.stop)),
        _joined(prefixes, ids),
        pa.repeat(TENANT, len(rows)),
        pc.take(pa.array(KINDS), kind),
        ids,
        *_sums(entities.groups, part),
        pc.take(pa.array([f"Entity;{label_of(name)}" for name in KINDS]), kind),
    ]


def _link_columns(links: Rows, node_of: Sequence[Ints], part: slice) -> list[pa.Array]:
    kind, number = links.kind[part], links.number[part]
    ends = np.empty(len(kind), np.int64)
    for k, ids in enumerate(node_of):
        ends[kind == k] = ids[number[kind == k]]
    types = pa.array([type_of(name) for name in KINDS])
    return [
        pa.array(node_of[0][links.user[part]]),
        pa.array(ends),
        *_sums(links.groups, part),
        pc.take(types, pa.array(kind)),
    ]


def _sums(of: Groups, part: slice) -> list[pa.Array]:
    """events, amount, alerts or fails, first_seen, last_seen, first_at, last_at"""
    times = [at_us(of.first[part]), at_us(of.last[part])]
    events = of.events[part]
    return [
        pa.array(events), pa.array(events * AMOUNT_MINOR), pa.repeat(0, len(events)), *(pa.array(t) for t in times), *(_date(t) for t in times)
    ]  # fmt: skip


def _date(us: Ints) -> pa.Array:
    """To the millisecond, as people read it and the import wants it."""
    text = pa.array(us // 1000).cast(pa.timestamp("ms")).cast(pa.string())
    return _joined(pc.utf8_replace_slice(text, 10, 11, "T"), "Z")


def _text(numbers: Ints) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _joined(left: pa.Array, right: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(left, right, "")


def _write(path: Path, header: str, rows: int, columns_of: Callable[[slice], list[pa.Array]], say: Say) -> None:
    path.with_name(f"{path.stem}_header.csv").write_text(header + "\n")
    progress = Progress(say, f"{path.stem} written for the import", rows)
    with path.open("wb") as file:
        for start in range(0, rows, ROWS):
            part = slice(start, min(start + ROWS, rows))
            columns = columns_of(part)
            table = pa.table(columns, names=[str(i) for i in range(len(columns))])
            pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
            progress.at(part.stop)


def _import(server: Path, folder: Path, say: Say) -> None:
    files = [
        f"--{what}={name}_header.csv,{name}.csv" for what, name in (("nodes", "nodes"), ("relationships", "links"))
    ]
    options = flags(class_path("neo4j", say), IMPORT_HEAP_MB)
    command = [str(java()), *options, "org.neo4j.cli.AdminTool", "database", "import", "full", "neo4j",
               "--overwrite-destination", "--id-type=integer", f"--max-off-heap-memory={IMPORT_MB}m", *files]  # fmt: skip
    log = server / "import.log"
    places = {"NEO4J_HOME": str(server), "NEO4J_CONF": str(server / "conf")}
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **places},
        )
    try:
        began = time.monotonic()
        while True:
            try:
                child.wait(SAY_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                steps = re.findall(r"\((\d)/4\)|(\d+)%", log.read_text(errors="replace"))
                stage = next((f"{step} of 4" for step, _ in reversed(steps) if step), "begins")
                share = next((f"{share} %" for _, share in reversed(steps) if share), "0 %")
                say(f"import: step {stage}, {share}, {time.monotonic() - began:.0f} s")
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    if child.returncode:
        raise Unavailable(
            f"Neo4j's import ended with status {child.returncode}:\n{log.read_text(errors='replace')[-2000:]}",
            hint="a full disk or too little memory are the usual causes",
        )
