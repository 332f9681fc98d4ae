"""Wrong options, settings and files: one line that says what, where and what to do; never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import ringwatch
from tests.support.door import AT

MAPPING = "type: payment\nevent_id: id\ntime: {column: at}\nentities: {user: who}\n"
ROWS = "id,at,who,verdict\n" + "".join(f"{i},{AT},u{i},{i % 2}\n" for i in range(40))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / "m.yaml").write_text(MAPPING)
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("batch_events", "0", "greater than or equal to 1"),
        ("batchevents", "5", "did you mean 'RINGWATCH_BATCH_EVENTS'?"),
        ("late_full_h", "inf", "RINGWATCH_LATE_FULL_H"),
        ("alert_window_h", "1e300", "RINGWATCH_ALERT_WINDOW_H"),
        ("tenant", "", "RINGWATCH_TENANT"),
        ("tenant", "4111111111111111", "is a card number"),
        ("token_key", "", "RINGWATCH_TOKEN_KEY"),
        ("ledger_url", "sqlite:///elsewhere.db", "RINGWATCH_LEDGER_URL"),
    ],
)
def test_wrong_settings(file: Path, setting: str, value: str, says: str) -> None:
    done = ringwatch(
        "ingest", file, "--map", file.with_name("m.yaml"), "--data-dir", file.with_name("d"), **{setting: value}
    )
    assert done.code == 2
    assert says in done.err
    assert "4111111111111111" not in done.err


@pytest.mark.parametrize(
    ("setting", "content", "says"),
    [
        ("policy", b"\xff\xfe", "not text in UTF-8"),
        ("policy", b"tenants: [a]", "tenants is"),
        ("policy", b"default: {weights: {neighborhood: 0.5}}", "did you mean 'neighbourhood'?"),
        ("lists", b"block: [{kind: devize, id: d, owner: o, reason: r}]", "did you mean 'device'?"),
        ("lists", b"block: yes please", "a list of entries"),
        ("detectors", b"[behaviour_isolation]\nrefit_days = 0", "at least 0.01"),
        ("detectors", b"[neighbourhood]\nshared_24h_low = 9999", "the low one must be below"),
        ("detectors", b"[neighbourhood]\nyoung_low = nan", "a finite number"),
        ("fx_rates", b"date,currency,rate\n", "has no rates"),
        ("fx_rates", b"date,currency,rate\n2026-01-01,EUR,2\n", "EUR is the currency rates are in"),
    ],
)
def test_wrong_configuration_files(file: Path, setting: str, content: bytes, says: str) -> None:
    config = file.with_name("config")
    config.write_bytes(content)
    args = ("ingest", file, "--map", file.with_name("m.yaml"), "--data-dir", file.with_name("d"))
    done = ringwatch(*args, **{setting: config})
    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--split", "random", "--test-size", "0"), "--test-size is 0"),
        (("--split", "nowhere.csv"), "there is no split file"),
        (("--split", "random", "--out", "/nowhere/x.csv"), "does not exist"),
        (("--train-from", "2026-01-01"), "lacks train_until, test_from, test_until"),
        (("--label-delay", "soon"), "--label-delay"),
    ],
)
def test_wrong_backtests(file: Path, args: tuple[Any, ...], says: str) -> None:
    done = ringwatch("backtest", file, "--map", file.with_name("m.yaml"), *args)
    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize(
    "protocol", ["exclude_known_fraud: 5", "without: x", "split: {random: {test_size: abc}}", "\x00"]
)
def test_wrong_protocols(file: Path, protocol: str) -> None:
    path = file.with_name("p.yaml")
    path.write_text(protocol if "split" in protocol else f"split: {{time_share: 0.5}}\n{protocol}\n")
    done = ringwatch("backtest", file, "--map", file.with_name("m.yaml"), "--protocol", path)
    assert done.code == 2
    assert "p.yaml" in done.err


@pytest.mark.parametrize("args", [("--days", "0"), ("--events", "0"), ("--seed", "-1")])
def test_wrong_simulations(tmp_path: Path, args: tuple[str, str]) -> None:
    done = ringwatch("simulate", "--out", tmp_path / "m", *args)
    assert done.code == 2
    assert args[0] in done.err


def test_a_market_is_not_written_over_without_a_word(tmp_path: Path) -> None:
    assert ringwatch("simulate", "--out", tmp_path / "m", "--events", 1000).code == 0
    done = ringwatch("simulate", "--out", tmp_path / "m", "--events", 1000)
    assert done.code == 2
    assert "--force" in done.err
    assert ringwatch("simulate", "--out", tmp_path / "m", "--events", 1000, "--force").code == 0


def test_a_label_column_without_a_known_value_is_told(file: Path) -> None:
    mapping = file.with_name("m.yaml")
    mapping.write_text(MAPPING + "label: {column: verdict, fraud: [yes], good: [no]}\n")
    done = ringwatch("ingest", file, "--map", mapping, "--data-dir", file.with_name("d"))
    assert done.code == 2
    assert "m.yaml:5: no value of 'verdict' in a.csv is fraud or good" in done.err


def test_a_folder_with_a_mapping_and_a_broken_file_gives_what_it_has(file: Path) -> None:
    (file.parent / "data").mkdir()
    file.rename(file.parent / "data" / "a.csv")
    file.with_name("m.yaml").rename(file.parent / "data" / "m.yaml")
    (file.parent / "data" / "z.parquet").write_bytes(b"PAR1 and nothing more")
    data = file.parent / "d"
    done = ringwatch(
        "ingest", file.parent / "data", "--map", file.parent / "data" / "m.yaml", "--data-dir", data, "--json"
    )
    assert done.code == 0, done.err
    assert (done.json()["events"], done.json()["refusals"]) == (40, 1)


def test_a_header_that_is_a_card_number_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("4111111111111111,2026-01-01T00:00:00Z,c1\n")
    (tmp_path / "m.yaml").write_text(MAPPING)
    done = ringwatch("ingest", tmp_path / "a.csv", "--map", tmp_path / "m.yaml", "--data-dir", tmp_path / "d")
    assert done.code == 2
    assert "4111" not in done.err


def test_one_monstrous_number_costs_its_record(tmp_path: Path) -> None:
    row = '{"event_id": "e%d", "type": "payment", "at": "' + AT + '", "user": "u", "amount": %s}\n'
    (tmp_path / "a.jsonl").write_text(row % (1, "1") + row % (2, '"1e999999999"') + row % (3, "1e999") + row % (4, "4"))
    done = ringwatch("ingest", tmp_path / "a.jsonl", "--data-dir", tmp_path / "d", "--json").json()
    assert (done["events"], done["refusals"]) == (2, 2)


def test_a_map_of_half_a_place_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "time,customer,lat,amount\n" + "".join(f"2026-01-01T00:00:{i:02}Z,c{i},{i / 7},5\n" for i in range(60))
    )
    done = ringwatch("map", tmp_path / "a.csv")
    assert done.code == 0
    assert "user: customer" in done.out
