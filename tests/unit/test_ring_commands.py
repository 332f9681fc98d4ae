"""Rings out of a data folder, and `ringwatch rings`."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from features.schema import FeatureSchema
from ingest import folder
from rings import read
from rings.export import encode
from rings.keeper import RingKeeper
from ringwatch.cli import app
from ringwatch.errors import BadInput, Corrupt, NotFound
from ringwatch.model import DAY_US, MINUTE_US, Event
from tests.support.ring_stories import START_US


def kept_rings() -> RingKeeper:
    """Two rings: four accounts on a device, two on an address."""
    keeper, schema = RingKeeper(FeatureSchema()), FeatureSchema()
    for n, (user, kind, entity) in enumerate(
        [(f"u{i}", "device", "d1") for i in range(4)] + [(f"w{i}", "address", "a1") for i in range(2)]
    ):
        at = START_US + n * 10 * MINUTE_US
        for seq, (name, type_) in enumerate((("s", "signup"), ("o", "order"))):
            event = Event(
                f"{name}{n}", type_, at + seq * MINUTE_US, {"user": user, kind: entity}, amount_minor=1000 * seq
            )
            if keeper.next_mark_us is not None and event.at_us >= keeper.next_mark_us:
                keeper.advance(event.at_us)
            keeper.apply([(2 * n + seq, event)], np.zeros((1, schema.size), np.float32))
    keeper.advance(START_US + DAY_US)
    return keeper


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for name in ("000000000000001", "000000000000002"):
        (data / "snapshots" / name).mkdir(parents=True)
        np.savez(data / "snapshots" / name / "rings.npz", allow_pickle=False, **kept_rings().dump())
    (data / folder.MARKER).write_text('{"format": 1}')
    return data


def test_rings_are_read_from_the_newest_snapshot_that_can_be(data_dir: Path) -> None:
    expected = kept_rings().rings()
    assert read.open_rings(data_dir).rings() == expected
    newest = data_dir / "snapshots" / "000000000000002" / "rings.npz"
    newest.write_bytes(newest.read_bytes()[:100])
    assert read.open_rings(data_dir).rings() == expected
    newest.unlink()
    assert read.open_rings(data_dir).rings() == expected


def test_absence_is_told_with_what_to_do(tmp_path: Path, data_dir: Path) -> None:
    with pytest.raises(NotFound, match="is not a Ringwatch data folder"):
        read.open_rings(tmp_path / "none")
    for path in data_dir.glob("snapshots/*/rings.npz"):
        path.write_bytes(b"PK broken")
    with pytest.raises(Corrupt, match=r"no snapshot in .* can be read"):
        read.open_rings(data_dir)
    for path in data_dir.glob("snapshots/*/rings.npz"):
        path.unlink()
    with pytest.raises(NotFound, match="has no rings"):
        read.open_rings(data_dir)
    for path in data_dir.glob("snapshots/*"):
        path.rmdir()
    with pytest.raises(NotFound, match="has no snapshot yet"):
        read.open_rings(data_dir)


def test_names_of_the_data_folder_are_the_folders_own(tmp_path: Path) -> None:
    data = folder.DataFolder(tmp_path / "data")
    assert read.MARKER == folder.MARKER
    assert data.path / read.SNAPSHOTS == data.snapshots
    data.close()


def test_a_ring_is_found_by_the_beginning_of_its_id(data_dir: Path) -> None:
    keeper = read.open_rings(data_dir)
    first, second = (r.ring_id for r in keeper.rings())
    length = next(n for n in range(1, 17) if first[:n] != second[:n])
    assert read.find_ring(keeper, first[:length]).summary.ring_id == first
    assert read.find_ring(keeper, f"{first[:12]}…").summary.ring_id == first, "as the list writes it"
    with pytest.raises(NotFound, match="there is no ring 'zz'"):
        read.find_ring(keeper, "zz")
    with pytest.raises(NotFound, match="there is no ring ''"):
        read.find_ring(keeper, "")
    if length > 1:
        with pytest.raises(BadInput, match="begins 2 rings"):
            read.find_ring(keeper, first[: length - 1])


# -- the commands


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "120"})


def test_rings_lists_and_show_draws(data_dir: Path) -> None:
    done = run("rings", "--data-dir", data_dir)
    assert done.exit_code == 0, done.output
    ring_id = kept_rings().rings()[0].ring_id
    assert ring_id in done.stdout
    shown = run("rings", "show", ring_id[:10], "--data-dir", data_dir)
    assert "4 accounts share a device" in shown.stdout
    assert "Who shares what" in shown.stdout
    assert (
        run("rings", "--data-dir", data_dir, "show", ring_id, "--json").stdout
        == encode([read.find_ring(kept_rings(), ring_id)], "jsonl").decode()
    )


def test_listing_is_filtered_limited_and_riskiest_first(data_dir: Path) -> None:
    rows = [json.loads(line) for line in run("rings", "--json", "--data-dir", data_dir).stdout.splitlines()]
    assert len(rows) == 2
    assert rows[0]["risk"] >= rows[1]["risk"]
    assert len(run("rings", "--json", "--limit", 1, "--data-dir", data_dir).stdout.splitlines()) == 1
    assert run("rings", "--json", "--tenant", "other", "--data-dir", data_dir).stdout == ""
    least = (rows[0]["risk"] + rows[1]["risk"]) / 2
    found = [
        json.loads(line) for line in run("rings", "--json", "--risk", least, "--data-dir", data_dir).stdout.splitlines()
    ]
    assert [r["risk"] >= least for r in found] == [True]
    assert "none of 2 rings is like that" in run("rings", "--pattern", "velocity", "--data-dir", data_dir).stdout


def test_show_writes_one_page_and_exports_by_ending(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ring_id = kept_rings().rings()[0].ring_id
    run("rings", "show", ring_id, "--html", "--data-dir", data_dir)
    assert (tmp_path / f"ring-{ring_id}.html").read_text().startswith("<!doctype html>")
    for name in ("r.html", "r.jsonl", "r.graphml", "r.json"):
        done = run("rings", "show", ring_id, "--out", tmp_path / name, "--data-dir", data_dir)
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).stat().st_size > 500
    run("rings", "--out", tmp_path / "all.graphml", "--data-dir", data_dir)
    assert nx.number_connected_components(nx.read_graphml(tmp_path / "all.graphml")) == 2
    assert isinstance(run("rings", "--out", "x.pdf", "--data-dir", data_dir).exception, BadInput)
    assert isinstance(
        run("rings", "show", ring_id, "--html", "--format", "json", "--data-dir", data_dir).exception, BadInput
    )
