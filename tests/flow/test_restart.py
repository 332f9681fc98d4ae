"""What a restart must not change: labels that wait, tenants with equal ids, snapshots that cannot be taken up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.streams import START_US, payment

from graph.writer import GraphWriter
from ingest.snapshot import load_arrays
from ingest.source import Chunk
from ringwatch.model import MINUTE_US, Event, Label
from ringwatch.settings import Settings
from ringwatch.wiring import Service, open_service

WHO = {"user": "u", "card": "c", "device": "d"}
EVENTS = [payment(i, START_US + i * 60 * MINUTE_US, entities=WHO) for i in range(3)]
Open = Callable[[str], Service]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return lambda name: open_service(Settings(data_dir=tmp_path / name, max_entities=1000, graph_url="none:"))


def feed(service: Service, *items: Event | Label) -> int:
    """How many were refused."""
    return len(service.pipeline.process(Chunk(items, range(1, len(items) + 1), None), "test").refused)


def digests(service: Service) -> tuple[str, str]:
    stream = service.pipeline.stream
    assert stream.rings is not None
    return stream.state.digest(), stream.rings.digest()  # type: ignore[attr-defined]


def test_a_label_that_no_event_followed_counts_after_a_restart(opened: Open) -> None:
    label = Label("event", EVENTS[0].event_id, "fraud", START_US + 30 * MINUTE_US)
    live, again = opened("live"), opened("again")
    for service in (live, again):
        feed(service, *EVENTS[:2])
        feed(service, label)
    again.close()
    again = opened("again")
    for service in (live, again):
        feed(service, EVENTS[2])
    assert digests(live) == digests(again)
    for service in (live, again):
        service.close()


def test_equal_event_ids_of_two_tenants_stay_apart(opened: Open, tmp_path: Path) -> None:
    a, b = (payment(1, START_US, entities={"user": t, "card": t + "c"}, tenant=t) for t in ("a", "b"))
    label = Label("event", a.event_id, "fraud", START_US + MINUTE_US, tenant="a")
    live = opened("live")
    assert feed(live, b, label) == 1, "tenant a has no such event"
    for items in ([a], [label], [payment(2, START_US + 90 * MINUTE_US, entities={"user": "a"}, tenant="a")]):
        assert feed(live, *items) == 0
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    killed = opened("killed")
    assert digests(live) == digests(killed)
    for service in (live, killed):
        service.close()


@pytest.mark.parametrize("name", ["rings.npz", "learned.npz", "state.bin"])
def test_a_snapshot_that_is_refused_is_replayed_from_nothing(opened: Open, tmp_path: Path, name: str) -> None:
    service = opened("data")
    feed(service, *EVENTS)
    service.close()
    service = opened("data")
    before = digests(service)
    service.close()
    for path in (tmp_path / "data" / "snapshots").glob(f"*/{name}"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    service = opened("data")
    assert service.pipeline.tally.troubles
    assert digests(service)[0] == before[0]
    assert service.pipeline.tally.replayed == len(EVENTS)
    service.close()


def test_rings_of_other_rules_are_replayed_from_nothing(opened: Open, tmp_path: Path) -> None:
    import numpy as np

    service = opened("data")
    feed(service, *EVENTS)
    before = digests(service)
    service.close()
    for path in (tmp_path / "data" / "snapshots").glob("*/rings.npz"):
        arrays = load_arrays(path)
        arrays["clock"][1] += 1
        np.savez(path, allow_pickle=False, **arrays)
    service = opened("data")
    assert any("other rules" in trouble for trouble in service.pipeline.tally.troubles)
    assert digests(service) == before
    service.close()


MANY = [payment(i, START_US + i * MINUTE_US, entities={"user": f"u{i % 40}", "card": f"c{i % 25}"}) for i in range(300)]


def test_a_snapshot_is_written_behind_and_holds_its_moment(opened: Open, tmp_path: Path) -> None:
    live, again = opened("live"), opened("again")
    feed(live, *MANY)
    feed(again, *MANY[:100])
    again.pipeline.begin_snapshot(quiet=True)
    underway = again.pipeline._underway
    assert underway is not None
    feed(again, *MANY[100:200])
    assert underway.result() == ""
    assert [p.name for p in (tmp_path / "again" / "snapshots").iterdir()] == [f"{99:015d}"]
    feed(again, *MANY[200:250])
    copy = tmp_path / "killed"
    shutil.copytree(tmp_path / "again", copy)
    killed = opened("killed")
    assert killed.pipeline.tally.replayed == 150, "from the fork on, the ledger"
    feed(killed, *MANY[250:])
    assert digests(killed) == digests(live)
    for service in (live, again, killed):
        service.close()


def test_a_snapshot_that_cannot_be_written_is_told_and_tried_again(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened("live")
    feed(service, *MANY[:10])
    pipeline, snapshots = service.pipeline, tmp_path / "live" / "snapshots"
    with monkeypatch.context() as broken:
        broken.setattr(pipeline.stream.rings, "dump", lambda: 1 / 0)
        pipeline.begin_snapshot(quiet=True)
        assert pipeline._underway is not None
        assert "division by zero" in pipeline._underway.result()
    assert list(snapshots.iterdir()) == [], "nothing half written stays"
    pipeline.begin_snapshot(quiet=True)
    assert "division by zero" in pipeline.tally.snapshot_trouble
    assert pipeline._underway is None, "not again at once"
    pipeline.checkpoint()
    assert pipeline.tally.snapshot_trouble == ""
    assert [p.name for p in snapshots.iterdir()] == [f"{9:015d}"]
    service.close()


@pytest.mark.parametrize("fails", ["fork", "pipe"])
def test_without_room_for_a_process_the_scorer_goes_on(
    opened: Open, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    service = opened("live")
    feed(service, *MANY[:10])
    open_files = len(os.listdir("/proc/self/fd"))

    def none_left() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, fails, none_left)
    service.pipeline.begin_snapshot(quiet=True)
    assert "temporarily unavailable" in service.pipeline.tally.snapshot_trouble
    assert len(os.listdir("/proc/self/fd")) == open_files
    feed(service, *MANY[10:20])
    monkeypatch.undo()
    service.close()


class Full(GraphWriter):
    """A graph writer that was stopped."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_stopped_graph_begins_no_snapshots(opened: Open) -> None:
    service = opened("live")
    feed(service, *MANY[:10])
    service.pipeline.outlets.graph_error = OSError("no space left on device")
    service.pipeline.begin_snapshot(quiet=True)
    assert service.pipeline._underway is None
    service.pipeline.outlets.graph = Full()
    with pytest.raises(OSError, match="no space left"):
        service.close()
    again = opened("live")
    assert again.pipeline.tally.replayed == 10, "the folder was given back, and a replay makes up for it"
    again.close()


def test_what_a_killed_process_left_of_a_snapshot_is_swept(opened: Open, tmp_path: Path) -> None:
    opened("live").close()
    left = tmp_path / "live" / "snapshots" / "part-77-1"
    left.mkdir()
    (left / "state.bin").write_bytes(b"half")
    opened("live").close()
    assert not left.exists()
