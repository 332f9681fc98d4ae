"""Rules on the command line: from a starter set over history to a published version and back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.cli import ringwatch

from evaluate.what_if import what_if
from features.schema import FeatureSchema
from ringwatch.model import Level
from ringwatch.settings import Settings
from ringwatch.wiring import open_queries
from scorers.rules.load import parse_rules

RULES = """\
name: mine
rules:
  - id: large
    owner: anna
    mode: advise
    when: [payment, order]
    if: amount_minor >= 5000
    score: 0.3
    about: device
    reason: "{amount_minor} at once"
    fixtures:
      - {event: {amount_minor: 9000}, expect: true}
      - {event: {amount_minor: 100}, expect: false}
  - id: shared
    owner: anna
    mode: off
    if: device.neighbours_24h >= 3
    reason: "{device.neighbours_24h} accounts"
    about: device
    fixtures:
      - {event: {device: d}, features: {device.neighbours_24h: 4}, expect: true}
      - {event: {device: d}, features: {device.neighbours_24h: 1}, expect: false}
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small market."""
    folder = tmp_path_factory.mktemp("rules")
    assert ringwatch("simulate", "--out", folder / "market", "--events", 7000, "--seed", 3).code == 0
    done = ringwatch("ingest", folder / "market" / "events.jsonl", "--data-dir", folder / "data", graph_url="none:")
    assert done.code == 0, done.err
    return folder / "data"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(RULES)
    return tmp_path / "r.yaml"


def test_check_and_test(file: Path) -> None:
    done = ringwatch("rules", "check", file, cwd=file.parent)
    assert done.code == 0
    assert "2 rules (1 off, 1 advise), version " in done.out
    assert "4 of 4 fixtures pass" in ringwatch("rules", "test", file, cwd=file.parent).out
    file.write_text(RULES.replace("expect: false", "expect: true", 1).replace("amount_minor >=", "amount_minor  >="))
    done = ringwatch("rules", "test", file, cwd=file.parent)
    assert done.code == 1
    assert f"{file}:13:9: rule large does not fire on this fixture" in done.err
    assert "has no fixture on which it does not fire" in done.err
    file.write_text(RULES.replace("amount_minor >= ", "amount_minr >= ").replace("mode: off", "mode: of"))
    done = ringwatch("rules", "check", file, cwd=file.parent)
    assert done.code == 2
    assert f"{file}:7:9: there is no 'amount_minr' (did you mean 'amount_minor'?)" in done.err
    assert f"{file}:16:11: mode is 'of' (did you mean 'off'?)" in done.err
    assert "2 troubles" in done.err
    done = ringwatch("rules", "check", file.with_name("none.yaml"), cwd=file.parent)
    assert done.code == 2
    assert "does not exist" in done.err


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"rules: 'x", b"\x00", b"rules: [{if: {}}]"])
def test_files_of_any_content(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    done = ringwatch("rules", "check", file, cwd=file.parent)
    assert done.code == 2
    assert str(file) in done.err


def test_card_numbers_are_refused_and_not_shown(file: Path) -> None:
    file.write_text(RULES.replace("device.neighbours_24h >= 3", "card = '4111 1111 1111 1111'"))
    done = ringwatch("rules", "publish", file, "--data-dir", file.parent / "data")
    assert done.code == 2
    assert f"{file}:17: a full card number" in done.err
    assert "1111" not in done.err


def test_starter_sets_are_printed(tmp_path: Path) -> None:
    assert ringwatch("rules", "starter").out.split() == ["games", "marketplace", "payments", "shop"]
    (tmp_path / "s.yaml").write_text(ringwatch("rules", "starter", "shop").out)
    assert ringwatch("rules", "check", tmp_path / "s.yaml", cwd=tmp_path).code == 0
    assert ringwatch("rules", "starter", "bank").code == 2


def test_what_if_counts_what_the_ledger_holds(history: Path, file: Path) -> None:
    done = ringwatch("rules", "what-if", file, "--data-dir", history, "--json")
    assert done.code == 0, done.err
    found = done.json()
    ledger = open_queries(Settings(data_dir=history), FeatureSchema())
    stored = [s for chunk in ledger.iterate() for _, s in chunk]
    large = [s for s in stored if s.event.type in ("payment", "order") and (s.event.amount_minor or 0) >= 5000]
    shared = [s for s in stored if s.features.get("device.neighbours_24h", 0) >= 3]
    labels = {e: x.label for e in (s.event.event_id for s in large) for x in ledger.labels_of("default", "event", [e])}
    again = msgspec.to_builtins(found)
    assert again["events"] == len(stored)
    by_id = {r["id"]: r for r in again["rules"]}
    one = by_id["large"]
    assert one["events"] == len(large) > 0
    assert one["users"] == len({s.event.user for s in large})
    assert one["amount_minor"] == sum(s.event.amount_minor or 0 for s in large)
    assert one["already"] == sum(Level[s.assessment.level] >= Level.MEDIUM for s in large)
    assert one["fraud"] >= sum(x == "fraud" for x in labels.values())
    assert 0 < one["new_alerts"] <= len(large) - one["already"]
    assert by_id["shared"]["events"] == len(shared) > 0, "a rule that is off is looked at too"
    both = {s.event.event_id for s in large} & {s.event.event_id for s in shared}
    assert one["overlap"].get("shared", 0) == len(both)
    parts = what_if(ledger, parse_rules(RULES), since_us=found["from_us"] + 1)
    assert parts.events == sum(s.event.at_us > found["from_us"] for s in stored)
    ledger.close()
    table = ringwatch("rules", "what-if", file, "--data-dir", history, "--since", "2026-01-05")
    assert "large" in table.out
    assert "precision" in table.out


def test_what_if_needs_a_ledger_and_a_date(tmp_path: Path, history: Path, file: Path) -> None:
    assert "has no ledger" in ringwatch("rules", "what-if", file, "--data-dir", tmp_path / "none").err
    assert "--since is 'soon'" in ringwatch("rules", "what-if", file, "--data-dir", history, "--since", "soon").err


def test_publish_show_history_rollback(tmp_path: Path, file: Path) -> None:
    data = tmp_path / "data"
    at = ("--data-dir", data)
    assert "not a Ringwatch data folder" in ringwatch("rules", "history", *at).err
    done = ringwatch("rules", "publish", file, *at, "--by", "anna", "--note", "first")
    assert done.code == 0, done.err
    assert ringwatch("rules", "publish", file, *at).code == 2
    file.write_text(RULES.replace("5000", "6000"))
    assert ringwatch("rules", "publish", file, *at, "--by", "ben").code == 0
    assert ringwatch("rules", "show", *at).out == file.read_text()
    listed = ringwatch("rules", "history", *at, "--json").lines()
    assert [(p["by"], p["note"], p["did"]) for p in listed] == [("ben", "", "publish"), ("anna", "first", "publish")]
    assert ringwatch("rules", "rollback", *at, "--by", "eve").code == 0
    assert ringwatch("rules", "show", *at).out == RULES
    assert "active" in ringwatch("rules", "history", *at).out
    file.write_text(RULES.replace("expect: false", "expect: true", 1))
    done = ringwatch("rules", "publish", file, *at)
    assert done.code == 2
    assert "a fixture fails" in done.err
    assert ringwatch("rules", "show", *at).out == RULES


def test_published_rules_are_run_and_recorded(tmp_path: Path, file: Path) -> None:
    data = tmp_path / "data"
    file.write_text(RULES.replace("mode: advise", "mode: act").replace("score: 0.3", "score: 0.9"))
    version = ringwatch("rules", "publish", file, "--data-dir", data).out.split()[1]
    line = b'{"event_id": "e1", "type": "payment", "at": "2026-05-01T12:00:00Z", "user": "u", "device": "d", "amount": 90, "currency": "EUR"}\n'
    done = ringwatch("score", "--read-only", "--data-dir", data, stdin=line, graph_url="none:")
    assert done.code == 0, done.err
    (assessment,) = done.lines()
    assert assessment["versions"]["scorers"]["rules"] == version
    assert assessment["scores"]["rules"] == 0.9
    assert "rules.large" in [r["code"] for r in assessment["reasons"]]
    broken = file.with_name("broken.yaml")
    broken.write_text("rules: [")
    done = ringwatch("score", "--data-dir", data, stdin=line, rules=broken)
    assert done.code == 2
    assert f"{broken}:" in done.err
