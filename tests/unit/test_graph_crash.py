"""The graph file after SIGKILL, and with another process on it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graph.ladybug_store import LadybugGraph
from graph.store import EntityRef
from ringwatch.errors import Conflict, Corrupt
from ringwatch.model import BUILTIN_KINDS

HUB = EntityRef("default", "device", "hub")
LINKS_A_BATCH = 40

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from graph.ladybug_store import LadybugGraph
from graph.store import EntityRef, EntityUpdate, GraphBatch, LinkUpdate
from ringwatch.model import BUILTIN_KINDS

store = LadybugGraph(Path(sys.argv[1]), fold_min_rows=300, slice_rows=1000, buffer_bytes=256 << 20)
store.prepare(BUILTIN_KINDS)
hub = EntityRef("default", "device", "hub")
position = store.applied_position()
print("writing", flush=True)
while True:
    position += 1
    users = [EntityRef("default", "user", f"u{(position * 7 + i) % 200}") for i in range(40)]
    store.apply(GraphBatch(
        [EntityUpdate(u, position, position, 1, position) for u in users],
        [LinkUpdate(u, hub, position, position, 1, position) for u in users],
        position,
    ))
"""


def start_writing(path: Path) -> subprocess.Popen[str]:
    writing = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writing.stdout is not None
    assert writing.stdout.readline() == "writing\n"
    return writing


def expected(position: int) -> dict[str, tuple[int, int, int, int]]:
    """user id -> first, last, events, amount of its link to the hub, of batches 0..position."""
    links: dict[str, tuple[int, int, int, int]] = {}
    for p in range(position + 1):
        for i in range(LINKS_A_BATCH):
            user = f"u{(p * 7 + i) % 200}"
            first, _, events, amount = links.get(user, (p, p, 0, 0))
            links[user] = (first, p, events + 1, amount + p)
    return links


@pytest.mark.slow
def test_killed_at_any_moment_the_graph_is_what_its_position_says(tmp_path: Path) -> None:
    path, rng, last = tmp_path / "graph.lbug", random.Random(5), -1
    killed = 0
    while killed < 8 or (last <= 5 and killed < 80):
        killed += 1
        writing = start_writing(path)
        time.sleep(rng.uniform(0.0, 0.7))
        writing.kill()
        writing.wait()
        store = LadybugGraph(path, buffer_bytes=256 << 20)
        store.prepare(BUILTIN_KINDS)
        position = store.applied_position()
        assert position >= last
        last = position
        if position >= 0:
            near = store.neighbourhood(HUB, hops=1, degree_cap=1000, limit=1000)
            held = {x.user.id: (x.first_seen_us, x.last_seen_us, x.events, x.amount_minor) for x in near.links}
            assert held == expected(position)
            tallies = {n.ref.id: n.events for n in near.nodes if n.ref.kind == "user"}
            assert tallies == {user: link[2] for user, link in held.items()}
        store.close()
    assert last > 5


def test_a_second_process_is_told_who_holds_the_graph(tmp_path: Path) -> None:
    writing = start_writing(tmp_path / "graph.lbug")
    try:
        with pytest.raises(Conflict, match=rf"in use by another process: .*{writing.pid}.*\(one process owns"):
            LadybugGraph(tmp_path / "graph.lbug")
    finally:
        writing.kill()
        writing.wait()


def test_a_file_that_is_no_graph_is_corrupt_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "graph.lbug"
    path.write_bytes(b"not a graph" * 1000)
    with pytest.raises(Corrupt, match=r"is not a LadybugDB file.*\(move the file away"):
        LadybugGraph(path)
    assert path.read_bytes() == b"not a graph" * 1000


def test_closing_twice_is_harmless_and_frees_the_file(tmp_path: Path) -> None:
    store = LadybugGraph(tmp_path / "graph.lbug", buffer_bytes=64 << 20)
    store.prepare(BUILTIN_KINDS)
    store.close()
    store.close()
    LadybugGraph(tmp_path / "graph.lbug", buffer_bytes=64 << 20).close()
