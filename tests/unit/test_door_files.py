"""Files as they come: packed, cut off, oddly ended, too long, in folders, through pipes, read again from a position."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ringwatch.errors import BadInput
from tests.support.door import AT, CARDS, read_all, refused, source_of

CSV = """
type: payment
event_id: id
time: {column: at}
entities: {user: who}
amount: {column: paid, unit: major, currency: EUR}
"""


def native(i: int, **more: object) -> str:
    return json.dumps({"event_id": f"e{i}", "type": "payment", "at": AT, "user": f"u{i}", "amount": i, **more})


def rows(n: int) -> str:
    return "id,at,who,paid\n" + "".join(f"{i},{AT},u{i},{i}.5\n" for i in range(n))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_packing_marks_and_blank_lines(tmp_path: Path, end: str, packed: bool, last: bool) -> None:
    text = "\ufeff" + end.join([native(0), "", native(1), "   ", native(2)]) + (end if last else "")
    file = tmp_path / "data"
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = read_all(source_of(file))
    assert [e.event_id for e in found.events] == ["e0", "e1", "e2"]
    assert found.positions == [1, 3, 5]
    table = tmp_path / "table.csv"
    text = "\ufeff" + rows(3).replace("\n", end)
    table.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert [e.event_id for e in read_all(source_of(table, CSV)).events] == ["0", "1", "2"]


def test_fields_over_lines_quotes_and_ragged_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        f'id,at,who,paid\n1,{AT},"a\nb",1\n2,{AT},"say ""hi""",2\n3,{AT},u\n4,{AT},u,4,5,6\n5,{AT},"never closed,5\n6,{AT},u,6\n'
    )
    found = read_all(source_of(file, CSV))
    assert [e.event_id for e in found.events] == ["2", "6"]
    assert found.events[0].user == 'say "hi"'
    assert len(found.refusals) == 4
    assert all(r.source.endswith("a.csv") and r.reason and r.raw for r in found.refusals)


def test_a_gzip_file_cut_off_anywhere_loses_nothing_before_the_cut(tmp_path: Path) -> None:
    text = "".join(native(i) + "\n" for i in range(3000)).encode()
    whole = gzip.compress(text)
    file = tmp_path / "cut.jsonl.gz"
    for share in (0.2, 0.5, 0.9, 0.999):
        file.write_bytes(whole[: int(len(whole) * share)])
        found = read_all(source_of(file))
        assert [e.event_id for e in found.events] == [f"e{i}" for i in range(len(found.events))]
        assert len(found.events) > 3000 * share * 0.6
        assert "breaks off" in found.refusals[-1].reason
        assert len(found.refusals) == 1
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    file.write_bytes(bytes(damaged))
    found = read_all(source_of(file))
    assert len(found.events) > 500
    assert found.refusals


def test_a_parquet_file_cut_off_is_told_and_the_next_file_read(tmp_path: Path) -> None:
    table = pa.table({"id": ["1", "2"], "at": [AT, AT], "who": ["a", "b"], "paid": [1.5, float("nan")]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet")
    half = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(half[: len(half) // 2])
    found = read_all(source_of(tmp_path, CSV))
    assert [e.amount_minor for e in found.events] == [150, None]
    assert len(found.refusals) == 1
    assert "b.parquet" in found.refusals[0].reason
    with pytest.raises(BadInput, match=r"b\.parquet"):
        source_of(tmp_path / "b.parquet", CSV)


def test_a_record_too_long_is_cut_and_told_and_the_rest_read(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(native(1) + "\n" + native(2, attributes={"x": "y" * 5000}) + "\n" + native(3) + "\n")
    found = read_all(source_of(file, longest=2000))
    assert [e.event_id for e in found.events] == ["e1", "e3"]
    assert "at most 2,000 are read" in found.refusals[0].reason
    assert found.refusals[0].raw.startswith(b'{"event_id": "e2"')


@pytest.mark.slow
def test_a_line_of_100_mb_costs_one_refusal_and_no_memory(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "huge.jsonl"
    with file.open("w") as out:
        out.write(native(1) + "\n" + '{"event_id": "')
        for _ in range(100):
            out.write("x" * 1_000_000)
        out.write('"}\n' + native(2) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_all(source_of(file))
    assert [e.event_id for e in found.events] == ["e1", "e2"]
    assert [r.code for r in found.refusals] == ["too_long"]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 50_000


def test_bytes_that_are_not_utf8_cost_their_record(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(rows(2).encode() + b"9," + AT.encode() + b",\xff\xfe,3\n" + b"10," + AT.encode() + b",u,4\n")
    found = read_all(source_of(file, CSV))
    assert [e.event_id for e in found.events] == ["0", "1", "10"]
    assert found.refusals[0].code == "encoding"
    assert b"\xff\xfe" in found.refusals[0].raw


def test_card_numbers_do_not_reach_the_dead_letters(tmp_path: Path) -> None:
    file = tmp_path / "cards.jsonl"
    escaped = native(9, user=CARDS[0]).replace("4111", "\\u0034111")
    file.write_text("\n".join([native(i, card=card) for i, card in enumerate(CARDS)] + [escaped, native(1)]))
    found = read_all(source_of(file))
    assert len(found.events) == 1
    for refusal in found.refusals:
        assert refusal.code == "card_number"
        for card in CARDS:
            assert card not in refusal.reason
            assert card.encode() not in refusal.raw
            assert card[:12].encode() not in refusal.raw


def test_times_far_past_the_rest_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    wild = native(0).replace("2026-05", "2077-05")
    file.write_text("\n".join([wild, *(native(i) for i in range(1, 30)), wild, native(31)]))
    found = read_all(source_of(file))
    assert len(found.events) == 30
    assert [r.code for r in found.refusals] == ["time", "time"]
    assert "past the newest before it" in found.refusals[0].reason


def test_reading_again_from_a_position_gives_the_same_tail(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.jsonl").write_text("\n".join(native(i) if i % 5 else "broken" for i in range(40)))
    (tmp_path / "d" / "2.jsonl").write_bytes(gzip.compress("\n".join(native(i) for i in range(40, 60)).encode()))
    whole = read_all(source_of(tmp_path / "d"))
    assert len(whole.events) == 52
    for position in (0, 1, 13, 39, 40, 41, 59, 60, 99):
        assert read_all(source_of(tmp_path / "d"), after=position) == whole.after(position)
    source = source_of(tmp_path / "d")
    assert source.source_id == source_of(tmp_path / "d").source_id
    (tmp_path / "d" / "1.jsonl").write_text("\n".join(native(i) for i in range(40)))
    assert source.source_id != source_of(tmp_path / "d").source_id


def test_a_pipe_is_read_once_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(rows(50),))
    writer.start()
    found = read_all(source_of(pipe, CSV))
    writer.join()
    assert len(found.events) == 50


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.zip", b"PK\x03\x04rest", "a zip archive"),
        ("a.bz2", b"BZh9", "bzip2"),
        ("a.zst", b"(\xb5/\xfd", "zstd"),
        ("a.txt", "\ufeffid,who\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_cannot_be_read_as_a_whole_are_told_before_the_first_event(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for mapping in (None, CSV):
        with pytest.raises(BadInput) as caught:
            source_of(tmp_path / name, mapping)
        assert says in refused(caught.value)


def test_paths_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="there is no file"):
        source_of(tmp_path / "nowhere.csv")
    with pytest.raises(BadInput, match="there are no files"):
        source_of(tmp_path / "empty")


def test_a_mapping_that_fits_no_record_fails_before_the_first_event(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,at,who,paid\n" + "".join(f"{i},{20260501 + i},u{i},{i}\n" for i in range(30)))
    with pytest.raises(BadInput) as caught:
        source_of(file, CSV)
    assert refused(caught.value).startswith("m.yaml:4: all of the first 30 records are refused")
    native_file = tmp_path / "a.jsonl"
    native_file.write_text("\n".join(json.dumps({"who": f"u{i}", "when": AT}) for i in range(30)))
    with pytest.raises(BadInput, match=r"ringwatch map a\.jsonl"):
        source_of(native_file)
