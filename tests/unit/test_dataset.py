"""Data sets: what is written is the replay, interrupted or not, and nothing of the future is in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.streams import START_US, payment

import training.parts
import training.replay
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.source import Chunk
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.errors import BadInput, Conflict, Corrupt, NotFound
from ringwatch.model import BUILTIN_KINDS, DAY_US, HOUR_US, Event, Label
from scorers.assess import Assessor
from scorers.policy import Policy
from scorers.registry import build_scorers
from training.card import Card
from training.dataset import Options, finished, make
from training.labelled import NEVER
from training.parts import column, part_paths
from training.reading import Unlabelled, read_labelled

SCHEMA = FeatureSchema(tuple(kind for kind in BUILTIN_KINDS if kind.name in ("user", "device", "card", "phone")))
SCORERS = {s.name: s.version for s in build_scorers()}
EACH_PART = Options(snapshot_interval_s=0.0)


@dataclass
class ListSource:
    """A source over items in memory."""

    items: Sequence[Event | Label]
    name: str = "list"
    source_id: str = "list"
    resumable: bool = True

    def read(self, *, after: int = 0) -> Iterator[Chunk]:
        for i in range(after, len(self.items), 100):
            part = self.items[i : i + 100]
            yield Chunk(part, list(range(i + 1, i + 1 + len(part))), (i + len(part)) / len(self.items))


def stream() -> ScoringStream:
    return ScoringStream(
        MemoryState(SCHEMA, max_entities=2000), Assessor(build_scorers(), Policy(), SCHEMA), RingKeeper(SCHEMA)
    )


def history(n: int = 450, *, shuffled: int | None = None) -> list[Event | Label]:
    """A tenth is fraud; each third event's label comes a day later, behind later events. `shuffled`: events in another order, by a seed;
    labels last."""
    rng = np.random.default_rng(3)
    items: list[Event | Label] = []
    for i in range(n):
        at_us = START_US + i * HOUR_US
        ids = {"user": f"u{i % 40}", "device": f"d{i % 13}", "card": f"c{i % 29}"}
        items.append(payment(i, at_us, entities=ids, amount_minor=9000 if i % 10 == 0 else int(rng.integers(50, 300))))
        if i >= 24 and i % 3 == 0:
            about = i - 24
            items.append(Label("event", f"e{about}", "fraud" if about % 10 == 0 else "good", at_us))
    if shuffled is None:
        return items
    events = [items[i] for i in np.random.default_rng(shuffled).permutation(len(items))]
    return sorted(events, key=lambda item: isinstance(item, Label))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.parts, "PART_ROWS", 60)


def made(source: ListSource, folder: Path, options: Options = EACH_PART) -> Card:
    card = make(source, stream(), folder, options)
    assert card is not None
    return card


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of `history`, never interrupted."""
    folder = tmp_path_factory.mktemp("set")
    before, training.parts.PART_ROWS = training.parts.PART_ROWS, 60
    made(ListSource(history()), folder)
    training.parts.PART_ROWS = before
    return folder


def card_of(folder: Path) -> Card:
    card = finished(folder)
    assert card is not None
    return card


def contents(folder: Path) -> list[object]:
    """Bytes, as NaN is unlike itself."""
    return [part.read_bytes() for part in part_paths(folder)]


# -- what is written


def test_rows_are_those_of_the_replay_with_their_labels_and_when_these_were_known(whole: Path) -> None:
    card = card_of(whole)
    assert (card.rows, card.labelled, card.frauds) == (450, 142, 15)
    assert len(card.parts) == len(part_paths(whole)) > 3
    table = pq.read_table(whole / card.parts[0]).to_pylist()
    assert [row["event_id"] for row in table[:3]] == ["e0", "e1", "e2"]
    assert table[0]["label"] == 1
    assert table[1]["label"] is None
    assert (table[0]["known_at"] - table[0]["at"]).total_seconds() == 24 * 3600
    assert not (whole / "unfinished").exists()
    feed = stream().feed([(i, e) for i, e in enumerate(history()[:100]) if isinstance(e, Event)])
    written = column(part_paths(whole), "card.amount_z")[:24]
    assert np.array_equal(written, feed.features[:24, SCHEMA.index["card.amount_z"]], equal_nan=True)


def test_columns_of_kinds_that_no_event_names_are_left_out(whole: Path) -> None:
    assert "user.gap_s" in card_of(whole).columns
    assert not any(name.startswith("phone.") for name in card_of(whole).columns)


def test_the_card_says_what_the_columns_hold(whole: Path) -> None:
    card = card_of(whole)
    gap = column(part_paths(whole), "user.gap_s").astype(np.float64)
    known = gap[~np.isnan(gap)]
    figures = card.columns["user.gap_s"]
    assert figures.missing == pytest.approx(40 / 450)
    assert (figures.mean, figures.std) == (pytest.approx(known.mean()), pytest.approx(known.std()))
    assert figures.quantiles[3] == pytest.approx(np.median(known))
    assert (figures.least, figures.most) == (known.min(), known.max())
    assert card.columns["user.distance_km"].missing == 1.0
    assert card.first_at.startswith("2023-11-14")


def test_the_hash_of_the_content_follows_the_content_and_not_the_parts(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.parts, "PART_ROWS", 100_000)
    assert len((one := made(ListSource(history()), tmp_path / "one")).parts) == 1
    assert one.content == card_of(whole).content
    other = history()
    other[5] = msgspec.structs.replace(other[5], amount_minor=1)
    assert made(ListSource(other), tmp_path / "other").content != one.content


def test_the_order_of_a_source_that_is_out_of_order_changes_nothing(tmp_path: Path) -> None:
    one = made(ListSource(history(shuffled=1)), tmp_path / "one")
    other = made(ListSource(history(shuffled=2)), tmp_path / "other")
    assert one.columns == other.columns
    ids = [column(part_paths(tmp_path / name), "event_id").tolist() for name in ("one", "other")]
    assert ids[0] == ids[1] == [f"e{i}" for i in range(450)]
    assert one.labelled == other.labelled == 142


def test_labels_that_come_before_their_events_are_not_lost(tmp_path: Path) -> None:
    items = history()
    first = sorted(items, key=lambda item: not isinstance(item, Label))
    one, other = made(ListSource(first), tmp_path / "first"), made(ListSource(history(shuffled=1)), tmp_path / "last")
    assert other.labelled == one.labelled == 142
    assert one.columns == other.columns
    known = [
        msgspec.structs.replace(i, known_at_us=START_US + int(i.target_id[1:]) * HOUR_US)
        for i in items
        if isinstance(i, Label)
    ]
    events = [item for item in items if isinstance(item, Event)]
    at_once, none = (
        made(ListSource([*known, *events]), tmp_path / "at-once"),
        made(ListSource(events), tmp_path / "none"),
    )
    assert at_once.labelled == 142
    assert at_once.columns["user.fraud_rate"] != none.columns["user.fraud_rate"], (
        "known at the time of its event, a label counts for what follows"
    )


def test_a_data_set_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def interfere(share: float | None, words: str) -> None:
        with pytest.raises(Conflict, match="written by another process"):
            make(ListSource(history()), stream(), folder, Options())

    assert make(ListSource(history(60)), stream(), folder, Options(), progress=interfere) is not None


# -- gone on with


@pytest.mark.parametrize(("shuffled", "after"), [(None, 2), (None, 5), (1, 1)])
def test_interrupted_and_gone_on_with_is_the_same_to_the_bit(
    whole: Path, tmp_path: Path, after: int, shuffled: int | None
) -> None:
    monkeypatched = training.replay._BATCH
    source, batches = ListSource(history(shuffled=shuffled)), 0

    def stop() -> bool:
        nonlocal batches
        batches += 1
        return batches == after

    training.replay._BATCH = 100
    try:
        assert make(source, stream(), tmp_path / "cut", EACH_PART, stop=stop) is None
        card = made(source, tmp_path / "cut")
        wanted = card_of(whole) if shuffled is None else made(source, tmp_path / "whole")
    finally:
        training.replay._BATCH = monkeypatched
    assert (card.content, card.columns) == (wanted.content, wanted.columns)


KILLED = """
import os, signal, sys
from pathlib import Path
import training.parts
import training.replay
from training.dataset import make
import test_dataset as t
training.parts.PART_ROWS = 60
seen = 0
def stop():
    global seen
    seen += 1
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return False
make(t.ListSource(t.history()), t.stream(), Path(sys.argv[1]), t.EACH_PART, stop=stop)
"""


def test_killed_between_parts_and_run_again_is_the_same_to_the_bit(whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(cut), "4"], env={**os.environ, "PYTHONPATH": paths}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert part_paths(cut)
    begun = [part.stat().st_mtime_ns for part in part_paths(cut)]
    assert list((cut / "unfinished" / "snapshots").iterdir()), "there is something to go on with"
    assert made(ListSource(history()), cut) == card_of(whole)
    assert contents(cut) == contents(whole)
    assert part_paths(cut)[0].stat().st_mtime_ns == begun[0], "what was finished is not made again"


def test_finished_is_not_made_again_and_another_is_refused(tmp_path: Path) -> None:
    card = made(ListSource(history(150)), tmp_path)
    assert make(ListSource([]), stream(), tmp_path, EACH_PART) == card
    with pytest.raises(BadInput, match="holds a data set of list: other source hash"):
        make(ListSource(history(), source_id="another"), stream(), tmp_path, EACH_PART)
    anew = made(ListSource(history(50), source_id="another"), tmp_path, replace(EACH_PART, anew=True))
    assert anew.rows == 50
    assert sum(pq.read_metadata(p).num_rows for p in part_paths(tmp_path)) == 50


def test_another_source_is_not_mixed_into_what_was_begun(tmp_path: Path) -> None:
    assert make(ListSource(history()), stream(), tmp_path, EACH_PART, stop=lambda: True) is None
    with pytest.raises(BadInput, match="unfinished data set of list: other source hash, label delay us"):
        make(ListSource(history(), source_id="x"), stream(), tmp_path, replace(EACH_PART, label_delay_us=1))
    with pytest.raises(NotFound, match="no finished data set"):
        read_labelled(tmp_path, SCORERS)


def test_a_snapshot_that_cannot_be_written_is_only_missed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OSError("no process to be had")

    monkeypatch.setattr(os, "fork", refuse)
    assert made(ListSource(history()), tmp_path).content == card_of(whole).content


def test_other_peoples_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BadInput, match="is not empty and holds no data set"):
        make(ListSource(history()), stream(), tmp_path, EACH_PART)
    with pytest.raises(BadInput, match="can be read once only"):
        make(ListSource(history(), resumable=False), stream(), tmp_path / "new", EACH_PART)
    with pytest.raises(BadInput, match="holds no events"):
        make(ListSource([]), stream(), tmp_path / "empty", EACH_PART)


# -- the past only


def test_a_label_is_seen_when_it_is_known_and_not_a_microsecond_before(tmp_path: Path) -> None:
    def event(n: int, at_us: int) -> Event:
        return payment(n, at_us, entities={"user": f"u{n}", "card": "c"})

    known_us = START_US + DAY_US
    items: list[Event | Label] = [
        event(0, START_US),
        Label("event", "e0", "fraud", known_us),
        event(1, known_us - 1),
        event(2, known_us),
        event(3, known_us),
    ]
    made(ListSource(items), tmp_path)
    frauds = column(part_paths(tmp_path), "card.last_3_frauds")
    assert np.nan_to_num(frauds).tolist() == [0, 0, 1, 1]
    silence_s = column(part_paths(tmp_path), "silence_s")
    assert np.isinf(silence_s[:2]).all()
    assert silence_s[2:].tolist() == [0, 0]


def test_a_longer_delay_moves_what_is_known(whole: Path, tmp_path: Path) -> None:
    made(ListSource(history()), tmp_path / "late", replace(EACH_PART, label_delay_us=7 * DAY_US))
    known = [column(part_paths(folder), "known_at") for folder in (whole, tmp_path / "late")]
    at = column(part_paths(tmp_path / "late"), "at")
    labelled = column(part_paths(tmp_path / "late"), "label") >= 0
    assert (known[1][labelled] - at[labelled] == 7 * DAY_US).all()
    assert (known[0][~labelled] == np.iinfo(np.int64).min).all()
    assert NEVER not in known[1]
    rates = [np.nansum(column(part_paths(f), "card.last_8_frauds")) for f in (whole, tmp_path / "late")]
    assert rates[1] < rates[0]


def test_events_after_change_nothing_before(whole: Path, tmp_path: Path) -> None:
    """A future link, and labels that come later: rows before are the same to the bit."""
    items = history()
    cut = next(i for i, item in enumerate(items) if isinstance(item, Event) and item.event_id == "e300")
    made(ListSource(items[:cut]), tmp_path / "cut")
    for name in pq.read_schema(part_paths(tmp_path / "cut")[0]).names:
        if name not in ("label", "known_at"):
            early, late = (column(part_paths(folder), name) for folder in (tmp_path / "cut", whole))
            same = (early == late[:300]) | ((early != early) & (late[:300] != late[:300]))
            assert same.all(), name


# -- read back


def test_read_back_are_labelled_rows_in_order_of_time_and_columns_that_vary(whole: Path) -> None:
    card = card_of(whole)
    found = read_labelled(whole, SCORERS)
    table = found.table
    assert len(table) == card.labelled
    assert (np.diff(table.at_us) >= 0).all()
    assert table.features.shape == (142, len(table.feature_names))
    assert table.features.dtype == np.float32
    assert "user.distance_km" not in table.feature_names, "nothing is known of places"
    assert "user.count_1h" in table.feature_names, "shares are made of it"
    j = table.feature_names.index("card.gap_s")
    labelled = column(part_paths(whole), "label") >= 0
    written = column(part_paths(whole), "card.gap_s")[labelled]
    assert np.array_equal(table.features[:, j], written, equal_nan=True)
    assert np.array_equal(found.rule, column(part_paths(whole), "score")[labelled])
    assert set(table.scorer_names) == set(SCORERS)


def test_old_events_without_a_label_count_as_good_where_few_have_one(whole: Path, tmp_path: Path) -> None:
    """Every label here is a day late: what is younger than a day teaches nothing, labelled or not."""
    found = read_labelled(whole, SCORERS, Unlabelled.GOOD)
    young = START_US + (449 - 24) * HOUR_US
    assert (len(found.table), found.assumed, found.waited_us) == (426, 426 - 142, 24 * HOUR_US)
    assert found.table.at_us.max() == young
    assert (found.table.known_us == found.table.at_us + 24 * HOUR_US).all()
    alone = read_labelled(whole, SCORERS)
    assert (len(alone.table), alone.assumed) == (142, 0), "a third is labelled: the others stay unknown"
    at = np.isin(found.table.row, alone.table.row)
    assert np.array_equal(found.table.label[at], alone.table.label)
    assert not found.table.label[~at].any()
    few = [item for item in history() if not isinstance(item, Label) or int(item.target_id[1:]) % 15 == 0]
    made(ListSource(few), tmp_path)
    assert read_labelled(tmp_path, SCORERS).assumed > 300
    assert read_labelled(tmp_path, SCORERS, Unlabelled.LEAVE).assumed == 0


def test_another_schema_other_scorers_and_lost_parts_are_refused(tmp_path: Path) -> None:
    made(ListSource(history(150)), tmp_path)
    with pytest.raises(BadInput, match=r"was scored by velocity .*, this version has 99"):
        read_labelled(tmp_path, {**SCORERS, "velocity": "99"})
    card = (tmp_path / "card.json").read_text()
    (tmp_path / "card.json").write_text(card.replace(SCHEMA.hash, "0" * 16))
    with pytest.raises(BadInput, match="has feature schema 0000"):
        read_labelled(tmp_path, SCORERS)
    (tmp_path / "card.json").write_text(card)
    part_paths(tmp_path)[0].unlink()
    with pytest.raises(Corrupt, match="is missing"):
        read_labelled(tmp_path, SCORERS)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(Corrupt, match="no card of a data set"):
        read_labelled(tmp_path, SCORERS)
    with pytest.raises(NotFound, match="holds no data set"):
        read_labelled(tmp_path / "none", SCORERS)
