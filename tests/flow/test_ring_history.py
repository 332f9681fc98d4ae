"""The history of rings of a data folder: written with the decisions, and whole again after a replay of a folder that had none."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from support.cli import ringwatch

from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ledger.sql_store import SqlLedger
from rings.as_of import as_of
from rings.entry import RingEntry
from rings.read import open_rings
from ringwatch.settings import Settings
from ringwatch.wiring import open_service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    write_simulation(SimulationConfig(events=8000, seed=9, days=40), folder / "market")
    done = ringwatch("ingest", folder / "market" / "events.jsonl", "--data-dir", folder / "data", "--json")
    assert done.code == 0, done.err
    assert done.json()["events"] > 7000
    return folder / "data"


def histories(data: Path) -> dict[str, list[RingEntry]]:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as connection:
        ids = [row[0] for row in connection.execute("SELECT DISTINCT ring_id FROM ring_history")]
    with closing(SqlLedger(f"sqlite:///{data / 'ledger.sqlite'}", FeatureSchema())) as ledger:
        return {id_: list(ledger.ring_history("default", id_, limit=100_000)) for id_ in ids}


def test_the_ledger_has_the_history_of_every_ring(folder: Path) -> None:
    told, keeper = histories(folder), open_rings(folder)
    found = {id_: as_of(entries) for id_, entries in told.items()}
    assert all(ring.complete for ring in found.values())
    live = {id_: sorted(ring.members) for id_, ring in found.items() if ring.members}
    assert live == {
        row.ring_id: sorted(m.user for m in ring.members)
        for row in keeper.rings()
        if (ring := keeper.ring(row.tenant, row.ring_id)) is not None
    }
    counts = Counter(entry.what for entries in told.values() for entry in entries)
    assert {"born", "grew", "merged", "dormant", "busted", "ended"} <= counts.keys(), counts


def test_a_folder_without_a_history_gets_it_by_a_replay(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "snapshots")
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.sqlite")) as connection:
        connection.executescript("DROP TABLE ring_history; UPDATE alembic_version SET version_num = '0004'")
    open_service(Settings(data_dir=tmp_path / "data")).close()
    assert histories(tmp_path / "data") == histories(folder)
