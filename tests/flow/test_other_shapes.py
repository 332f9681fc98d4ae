"""Files of other shapes than any we have seen go through ingest and backtest with a mapping alone."""

from __future__ import annotations

import csv
import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.cli import ringwatch

ROWS = 4000
DAY_0 = datetime(2025, 3, 1, 8, tzinfo=UTC)

BOOKINGS = """
format: csv
delimiter: ";"
kinds:
  tablet: {strength: strong}
  hotel: {strength: weak, crowded: true}
  floor: {strength: none, crowded: true}
type: {column: Vorgang, map: {Buchung: order, Storno: refund}}
event_id: Nr
time: {column: [Tag, Uhrzeit], format: "%d.%m.%Y %H:%M:%S", zone: Europe/Berlin}
entities: {user: Gast, tablet: Tablet, hotel: Haus, floor: Etage, phone: Telefon}
amount: {column: Betrag, unit: major, currency: EUR, decimal: ","}
fields: {category: Zimmer}
attributes: [Notiz]
label: {column: Urteil, fraud: [betrug], good: [ok], delay: 3d}
"""

CALLS = """
format: jsonl
kinds:
  tower: {strength: weak, crowded: true}
type: session_step
time: {column: meta.tick, step_s: 30, origin: 2025-01-01T00:00:00Z}
entities: {user: caller.sim, device: caller.handset, tower: meta.tower}
fields: {outcome: {column: answered, map: {true: success, false: failed}}}
label: {column: spam, fraud: [true], good: [false], delay: 0}
"""


def bookings(folder: Path) -> tuple[Path, Path]:
    """A gzipped CSV as a hotel chain would have it; 60 rings of guests book from one tablet each within an hour."""
    rng = random.Random(1)
    rows = []
    for i in range(ROWS):
        guest = rng.randrange(500)
        at = DAY_0 + timedelta(minutes=11 * i)
        rows.append(
            [
                at,
                f"G{guest}",
                f"T{guest}",
                f"+49{guest:08d}",
                rng.randrange(40, 400),
                "ok" if rng.random() < 0.5 else "",
            ]
        )
    for ring in range(60):
        at = DAY_0 + timedelta(minutes=11 * rng.randrange(ROWS))
        for member in range(8):
            at += timedelta(minutes=rng.randrange(1, 6))
            rows.append(
                [at, f"R{ring}-{member}", f"Q{ring}", f"+48{ring:05d}{member}", rng.randrange(300, 900), "betrug"]
            )
    rows.sort(key=lambda row: row[0])
    file, mapping = folder / "bookings.csv.gz", folder / "bookings.yaml"
    with gzip.open(file, "wt", newline="") as out:
        writer = csv.writer(out, delimiter=";")
        writer.writerow(
            [
                "Nr",
                "Vorgang",
                "Tag",
                "Uhrzeit",
                "Gast",
                "Tablet",
                "Haus",
                "Etage",
                "Telefon",
                "Betrag",
                "Zimmer",
                "Notiz",
                "Urteil",
            ]
        )
        for number, (at, guest, tablet, phone, amount, verdict) in enumerate(rows):
            what = "Storno" if rng.random() < 0.05 else "Buchung"
            writer.writerow([f"B-{number}", what, f"{at:%d.%m.%Y}", f"{at:%H:%M:%S}", guest, tablet,
                             f"Haus {rng.randrange(6)}", rng.randrange(9), phone, f"{amount},50", "doppelt", "später an",
                             verdict])  # fmt: skip
    mapping.write_text(BOOKINGS)
    return file, mapping


def calls(folder: Path) -> tuple[Path, Path]:
    """Nested JSON Lines of telephone calls; a few handsets go through many sims."""
    rng = random.Random(2)
    file, mapping = folder / "calls.jsonl", folder / "calls.yaml"
    with file.open("w") as out:
        for i in range(ROWS):
            spam = rng.random() < 0.05
            sim = f"s{rng.randrange(10**6)}" if spam else f"u{rng.randrange(300)}"
            handset = f"bank{rng.randrange(4)}" if spam else f"h-{sim}"
            row = {"caller": {"sim": sim, "handset": handset}, "meta": {"tick": i * 7, "tower": f"t{rng.randrange(20)}"},
                   "answered": not spam or rng.random() < 0.2, "spam": spam}  # fmt: skip
            out.write(json.dumps(row) + "\n")
    mapping.write_text(CALLS)
    return file, mapping


SHAPES = {"bookings": (bookings, ROWS + 480), "calls": (calls, ROWS)}
each_shape = pytest.mark.parametrize("shape", SHAPES)


@each_shape
def test_ingest_needs_a_mapping_alone(shape: str, tmp_path: Path) -> None:
    make, rows = SHAPES[shape]
    file, mapping = make(tmp_path)
    done = ringwatch("ingest", file, "--map", mapping, "--data-dir", tmp_path / "d", "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert (found["events"], found["refusals"]) == (rows, 0)
    assert found["labels"] > 0
    alerts = ringwatch("alerts", "--data-dir", tmp_path / "d", "--json", "--level", "high").lines()
    alerts += ringwatch("alerts", "--data-dir", tmp_path / "d", "--json", "--level", "critical").lines()
    shared = {"bookings": "tablet", "calls": "device"}[shape]
    assert any(alert["kind"] in ("ring", shared) and shared in alert["text"] for alert in alerts)


@each_shape
def test_backtest_needs_a_mapping_alone(shape: str, tmp_path: Path) -> None:
    make, rows = SHAPES[shape]
    file, mapping = make(tmp_path)
    protocol = tmp_path / "protocol.yaml"
    protocol.write_text(
        "split: {time_share: 0.6}\nlabels: train\nmetrics: [roc_auc, average_precision, f1_macro, precision_at_5]\n"
    )
    out = tmp_path / "scores.parquet"
    done = ringwatch("backtest", file, "--map", mapping, "--protocol", protocol, "--out", out, "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert report["events"] == rows
    assert report["figures"]["roc_auc"] > 0.75
    assert set(report["figures"]) >= {"roc_auc", "average_precision", "f1_macro", "precision_at_5"}
    table = pq.read_table(out)
    assert table.num_rows == rows
    assert set(table.column_names) == {"event_id", "at", "user", "part", "score", "level", "action", "label", "reasons",
                                       "learned", *report["scorers"]}  # fmt: skip
    assert report["figures"]["roc_auc"] >= report["rule"]["roc_auc"] - 1e-9
    assert set(table["part"].to_pylist()) == {"train", "test"}


def test_backtest_by_a_split_file_by_dates_and_at_random(tmp_path: Path) -> None:
    file, mapping = bookings(tmp_path)
    split = tmp_path / "split.csv"
    split.write_text("event_id,part\n" + "".join(f"B-{i},{'test' if i % 3 else 'train'}\n" for i in range(ROWS)))
    by_file = ringwatch(
        "backtest", file, "--map", mapping, "--split", split, "--json", "--out", tmp_path / "s.csv"
    ).json()
    assert by_file["folds"][0]["rows"] > 0
    rows = list(csv.DictReader((tmp_path / "s.csv").open(newline="")))
    assert {row["part"] for row in rows} == {"train", "test", ""}
    dates = [
        "--train-from",
        "2025-03-02",
        "--train-until",
        "2025-03-12",
        "--test-from",
        "2025-03-15",
        "--test-until",
        "2025-03-25",
    ]
    by_date = ringwatch("backtest", file, "--map", mapping, *dates, "--label-delay", "1d", "--json").json()
    assert 0.5 < by_date["figures"]["roc_auc"] <= 1.0
    at_random = ["--split", "random", "--test-size", 0.4, "--seed", 5]
    first = ringwatch("backtest", file, "--map", mapping, *at_random, "--json").json()
    second = ringwatch("backtest", file, "--map", mapping, *at_random, "--json").json()
    assert first["figures"] == second["figures"]


def test_a_mapping_for_another_file_fails_before_the_first_event(tmp_path: Path) -> None:
    (bookings_file, _), (_, calls_mapping) = bookings(tmp_path), calls(tmp_path)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(BOOKINGS.replace("user: Gast", "user: Kunde"))
    done = ringwatch("ingest", bookings_file, "--map", wrong, "--data-dir", tmp_path / "d")
    assert done.code == 2
    assert "Kunde" in done.err
    assert "wrong.yaml" in done.err
    other = ringwatch("ingest", bookings_file, "--map", calls_mapping, "--data-dir", tmp_path / "e")
    assert other.code == 2
    for data in ("d", "e"):
        assert (
            not list((tmp_path / data).glob("dead-letters.jsonl"))
            or not (tmp_path / data / "dead-letters.jsonl").read_bytes()
        )
