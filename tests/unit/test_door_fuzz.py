"""Whatever the bytes: every record is an event or a refusal, nothing is lost, nothing else is raised."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwatch.errors import BadInput
from tests.support.door import AT, CARDS, Found, read_all, refused, source_of

MAPPING = """
type: {column: what, default: payment}
event_id: id
time: {column: at, zone: UTC}
entities: {user: who, device: on}
amount: {column: paid, unit: major, currency: EUR}
fields: {country: land, quantity: pieces}
attributes: [note]
label: {column: verdict, fraud: [1], good: [0], delay: 1d}
"""
COLUMNS = ["id", "what", "at", "who", "on", "paid", "land", "pieces", "note", "verdict"]
_CELLS = st.one_of(
    st.text(max_size=12),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.sampled_from(["", "NaN", "-0", "1e999", AT, "2026-02-31", "0001-01-01", '"', '""', ",,", "\x00", "payment", "DE",
                     *CARDS, " ", "'", "\r", "null", "2026-05-01T12:00:00+25:00", "9" * 400]),
)  # fmt: skip


def check(file: Path, mapping: str | None, longest: int = 400) -> Found | None:
    """Read a file whole and from the middle; None when it was told to be unusable."""
    try:
        source = source_of(file, mapping, longest=longest, naive_times="utc")
    except BadInput as error:
        refused(error)
        return None
    found = read_all(source)
    for item in found.refusals:
        assert item.reason
        assert item.position > 0
        assert not any(card in item.reason or card.encode() in item.raw for card in CARDS)
    for event in found.events:
        assert not any(card in repr(event) for card in CARDS)
    middle = found.positions[len(found.positions) // 2] if found.positions else 0
    again = read_all(source_of(file, mapping, longest=longest, naive_times="utc"), after=middle)
    assert again == found.after(middle)
    return found


def written(content: bytes, name: str) -> Path:
    file = Path(tempfile.mkdtemp(dir=_FOLDER.name)) / name
    file.write_bytes(content)
    return file


_FOLDER = tempfile.TemporaryDirectory()


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(_CELLS, min_size=10, max_size=10), max_size=12))
def test_any_cells_of_a_csv(rows: list[list[str]]) -> None:
    good = ["x", "payment", AT, "u", "d", "1.5", "DE", "1", "", "0"]
    lines = [",".join(COLUMNS), ",".join(good), *(",".join(row) for row in rows), ",".join(good)]
    found = check(written("\n".join(lines).encode("utf-8", "surrogatepass"), "a.csv"), MAPPING)
    if found is not None:
        assert found.records >= 1
        assert found.events[0].user == "u"


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=600), st.booleans(), st.sampled_from(["a.csv", "a.jsonl", "a"]), st.booleans())
def test_any_bytes_as_a_file(content: bytes, packed: bool, name: str, mapped: bool) -> None:
    file = written(gzip.compress(content) if packed else content, name)
    check(file, MAPPING if mapped else None)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_good_file_cut_and_overwritten(data: st.DataObject) -> None:
    lines = [
        json.dumps({"event_id": f"e{i}", "type": "payment", "at": AT, "user": f"u{i}", "amount": i}) for i in range(8)
    ]
    raw = bytearray("\n".join(lines).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        noise = data.draw(st.binary(max_size=6))
        raw[at : at + data.draw(st.integers(0, 6))] = noise
    raw = raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]
    found = check(written(bytes(raw), "a.jsonl"), None)
    if found is not None and not raw.startswith(b"\x1f\x8b"):
        assert found.records == sum(bool(line.strip()) for line in bytes(raw).split(b"\n"))


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=8),
    st.datetimes(), st.dates(), st.times(), st.lists(st.integers(0, 9), max_size=3),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9),
    st.sampled_from([int(CARDS[0]), CARDS[1]]),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_values_of_a_parquet_file(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 4))
    columns = {}
    for name in COLUMNS:
        example = data.draw(_VALUES)
        values = [example if data.draw(st.booleans()) else None for _ in range(n)]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns[name] = pa.array([str(value) for value in values])
    file = Path(tempfile.mkdtemp(dir=_FOLDER.name)) / "a.parquet"
    pq.write_table(pa.table(columns), file)
    found = check(file, MAPPING)
    if found is not None:
        assert found.records == n
