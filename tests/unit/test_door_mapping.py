"""Mappings: a wrong one says which line to mend; a proposed one reads the file it was proposed for."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.mapping import parse_mapping
from ingest.mapping_proposal import propose
from ringwatch.errors import BadInput
from tests.support.door import decoder, read_all, refused, source_of

GOOD = """format: csv
kinds:
  terminal: {strength: weak, crowded: true}
type: {column: what, map: {P: payment, R: refund}}
event_id: id
time: {column: when, format: "%d.%m.%Y %H:%M", zone: UTC}
entities:
  user: who
  terminal: where
amount: {column: paid, unit: major, currency: EUR}
fields: {category: kind}
attributes: [note]
label: {column: verdict, fraud: [bad], good: [fine], delay: 3d}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("format: csv", "format: cvs", 1, "did you mean 'csv'"),
        ("entities:", "entitys:", 7, "did you mean 'entities'"),
        ("strength: weak", "strength: strongish", 3, "strength"),
        ("terminal: {", "Terminal!: {", 3, "Terminal!"),
        ("crowded: true", "crowded: sometimes", 3, "true or false"),
        ("R: refund", "R: repayment", 4, "type"),
        ("zone: UTC", "zone: Mars/Olympus", 6, "Mars/Olympus"),
        ("%d.%m.%Y %H:%M", "%H:%M", 6, "does not hold year, month and day"),
        ("%d.%m.%Y %H:%M", "%Q", 6, "format"),
        ('format: "%d.%m.%Y %H:%M"', "epoch: fortnights", 6, "fortnights"),
        ("terminal: where", "spaceship: where", 9, "spaceship"),
        ("currency: EUR", "currency: EURO", 10, "ISO 4217"),
        ("unit: major", "unit: big", 10, "unit"),
        ("category: kind", "categry: kind", 11, "did you mean 'category'"),
        ("attributes: [note]", "attributes: note", 12, "a list of columns"),
        ("delay: 3d", "delay: soon", 13, "a duration such as"),
        ("good: [fine]", "good: [bad]", 13, "both fraud and good"),
        ("event_id: id", "event_id: {column: [a, b, c, d, e]}", 5, "up to 4"),
        ("event_id: id", "event_id: id\nevent_id: other", 6, "given twice"),
        ("event_id: id", "event_id: &x id", 5, "anchors"),
        ("event_id: id", "event_id: !!python/object:os.system id", 5, "tags"),
        ("event_id: id", "event_id: [", 5, "not YAML"),
        ("time: {", "times: {", 6, "times"),
    ],
)
def test_a_wrong_mapping_names_the_line_to_mend(old: str, new: str, line: int, says: str) -> None:
    parse_mapping(GOOD, "m.yaml")
    assert old in GOOD
    with pytest.raises(BadInput) as caught:
        parse_mapping(GOOD.replace(old, new, 1), "m.yaml")
    text = refused(caught.value)
    found = int(text.split(":")[1])
    assert abs(found - line) <= (2 if "YAML" in says else 0), text
    assert says in text


@pytest.mark.parametrize("missing", ["type", "time", "entities"])
def test_what_is_missing_is_named(missing: str) -> None:
    kept = [block for block in GOOD.split("\n") if not block.startswith(missing)]
    if missing == "entities":
        kept = [line for line in kept if line not in ("  user: who", "  terminal: where")]
    with pytest.raises(BadInput, match=f"{missing} is missing"):
        parse_mapping("\n".join(kept), "m.yaml")


def test_a_column_that_is_not_there_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,what,when,who,where,payed,kind,note,verdict\n")
    with pytest.raises(BadInput) as caught:
        source_of(file, GOOD)
    assert refused(caught.value).startswith("m.yaml:10: a.csv has no column 'paid' (did you mean 'payed'")


def test_values_are_read_as_the_mapping_says(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "id,what,when,who,where,paid,kind,note,verdict\n"
        '1,P,01.05.2026 12:00,ann,t1,"1,234.50",food,hi,bad\n'
        "2,R,01.05.2026 12:01,ann,t1,$3,food,,fine\n"
        "3,P,01.05.2026 12:02,bob,t1,,food,,open\n"
        "4,X,01.05.2026 12:03,bob,t1,1,food,,\n"
    )
    found = read_all(source_of(file, GOOD))
    assert [e.type for e in found.events] == ["payment", "refund", "payment"]
    assert [e.amount_minor for e in found.events] == [123450, 300, None]
    assert [e.attributes for e in found.events] == [{"note": "hi"}, {}, {}]
    assert [(label.target_id, label.label) for label in found.labels] == [("1", "fraud"), ("2", "good")]
    assert found.labels[0].known_at_us - found.events[0].at_us == 3 * 86_400 * 1_000_000
    (refusal,) = found.refusals
    assert "what is 'X'" in refusal.reason
    assert "the mapping knows P, R" in refusal.reason
    assert refusal.position == 4


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=12))
def test_any_slip_in_a_mapping_is_told_in_one_line(start: int, cut: int, written: str) -> None:
    try:
        parse_mapping(GOOD[:start] + written + GOOD[start + cut :], "m.yaml")
    except BadInput as error:
        told = refused(error)
    else:
        return
    assert told.startswith("m.yaml:")


def _shapes(folder: Path) -> list[Path]:
    """Five files as five companies would send them; a fraud in each fifty rows."""
    rng = random.Random(4)
    n = 400
    bad = [i % 50 == 7 for i in range(n)]

    semicolon = folder / "german.csv"
    with semicolon.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out, delimiter=";")
        rows.writerow(["Datum", "Kunde", "Haendler", "Betrag", "is_fraud"])
        for i in range(n):
            when = f"{i % 28 + 1:02}.03.2026 {i % 24:02}:15"
            rows.writerow(
                [
                    when,
                    f"K{rng.randrange(60)}",
                    f"H{rng.randrange(9)}",
                    f"{rng.randrange(999)},{i % 100:02}",
                    int(bad[i]),
                ]
            )

    lines = folder / "nested.jsonl.gz"
    with gzip.open(lines, "wt") as out:
        for i in range(n):
            row = {"id": f"t-{i}", "created": 1_772_000_000 + 60 * i, "buyer": {"account": f"b{rng.randrange(60)}"}}
            out.write(json.dumps({**row, "total": i / 7, "device": f"d{rng.randrange(70)}", "fraud": bad[i]}) + "\n")

    table = folder / "columns.parquet"
    columns = {
        "transaction_id": list(range(n)),
        "ts": pa.array([1_772_000_000_000 + 60_000 * i for i in range(n)], pa.timestamp("ms")),
        "account": [f"a{rng.randrange(60)}" for _ in range(n)],
        "ip": [f"10.0.{rng.randrange(9)}.{rng.randrange(200)}" for _ in range(n)],
        "amount": [float(i) for i in range(n)],
    }
    pq.write_table(pa.table(columns), table)

    steps = folder / "steps.csv"
    with steps.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["step", "type", "amount", "nameOrig", "nameDest", "isFraud"])
        for i in range(n):
            rows.writerow(
                [
                    i // 10,
                    "TRANSFER" if i % 2 else "CASH_OUT",
                    9.5 * i,
                    f"C{rng.randrange(60)}",
                    f"M{rng.randrange(9)}",
                    int(bad[i]),
                ]
            )

    bare = folder / "bare.tsv"
    bare.write_text(
        "".join(f"2026-04-{i % 28 + 1:02}T10:00:00Z\tu{rng.randrange(60)}\t{i}.50\n" for i in range(n)),
        encoding="utf-8",
    )
    return [semicolon, lines, table, steps, bare]


@pytest.mark.parametrize("shape", range(5))
def test_a_proposed_mapping_reads_its_file(tmp_path: Path, shape: int) -> None:
    file = _shapes(tmp_path)[shape]
    text = propose(file)
    found = read_all(source_of(file, text))
    assert len(found.events) == 400, text
    assert not found.refusals
    assert len({event.user for event in found.events}) > 30, text
    assert all(event.amount_minor is not None for event in found.events), text
    if shape in (0, 1, 3):
        assert sum(label.label == "fraud" for label in found.labels) == 8


def test_a_proposal_never_shows_a_card_number(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_text(
        "time,customer,card,amount\n"
        + "".join(f"2026-01-01T00:00:{i:02}Z,c{i},4111111111111111,5\n" for i in range(60))
    )
    text = propose(file)
    assert "4111111111111111" not in text
    mapping = parse_mapping(text, "m.yaml")
    assert mapping.tokens
    with pytest.raises(BadInput, match="RINGWATCH_TOKEN_KEY"):
        source_of(file, text)
    found = read_all(source_of(file, text, token_key=b"secret key of the tests"))
    assert len(found.events) == 60
    assert len({event.entities["card"] for event in found.events}) == 1


def test_a_header_with_two_equal_names_is_told(tmp_path: Path) -> None:
    file = tmp_path / "twice.csv"
    file.write_text("time,customer,amount,amount\n" + "2026-01-01T00:00:00Z,c,1,2\n" * 9)
    with pytest.raises(BadInput, match="more than one column 'amount'"):
        propose(file)


def test_decoder_and_mapping_share_their_kinds() -> None:
    mapping = parse_mapping(GOOD, "m.yaml")
    made = decoder(kinds=mapping.kinds)
    assert made.rules.kinds[-1].name == "terminal"
