"""Alert budgets on the command line: what the past asks for, and a run that is stopped and goes on with the same thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import ringwatch

from features.schema import FeatureSchema
from ringwatch.settings import Settings
from ringwatch.wiring import open_queries
from scorers.alert_levels import thresholds_of

POLICY = "default: {alerting: {budget: {alerts_per_day: 3}}}\n"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events in two files, and a policy."""
    folder = tmp_path_factory.mktemp("policy")
    assert ringwatch("simulate", "--out", folder / "market", "--events", 7000, "--seed", 3, "--days", 12).code == 0
    lines = (folder / "market" / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "a.jsonl").write_text("".join(lines[: len(lines) // 2]))
    (folder / "b.jsonl").write_text("".join(lines[len(lines) // 2 :]))
    (folder / "policy.yaml").write_text(POLICY)
    return folder


def ingest(folder: Path, data: str, *files: str) -> list[tuple[str, str, str]]:
    """(event, level, policy version) of all that the ledger holds after one command a file."""
    for file in files:
        more = {"graph_url": "none:", "policy": str(folder / "policy.yaml")}
        done = ringwatch("ingest", folder / file, "--data-dir", folder / data, **more)
        assert done.code == 0, done.err
    ledger = open_queries(Settings(data_dir=folder / data), FeatureSchema())
    stored = [s.assessment for chunk in ledger.iterate() for _, s in chunk]
    ledger.close()
    return [(a.event_id, a.level, a.versions.policy) for a in stored]


def test_a_run_that_is_stopped_goes_on_with_the_same_thresholds(market: Path) -> None:
    parts = ingest(market, "parts", "a.jsonl", "b.jsonl")
    assert parts == ingest(market, "whole", "market/events.jsonl")
    thresholds = {thresholds_of(version) for _, _, version in parts}
    assert len(thresholds) > 3
    assert all(found is not None and found[2] == 0.85 for found in thresholds)


def test_what_the_past_asks_for(market: Path) -> None:
    ingest(market, "past", "a.jsonl")
    at = ("--data-dir", market / "past")
    done = ringwatch("policy", "what-if", market / "policy.yaml", *at, "--json")
    assert done.code == 0, done.err
    (found,) = done.json()
    assert (found["tenant"], found["kind"], found["level"]) == ("default", "budget", "MEDIUM")
    assert 0.25 <= found["threshold"] <= 0.85
    assert found["accounts_a_day"] <= 3 or not found["reached"]
    assert found["accounts_a_day_fixed"] > 0
    (market / "precise.yaml").write_text("default: {alerting: {precision: 0.5, good_after_days: 2}}\n")
    table = ringwatch("policy", "what-if", market / "precise.yaml", *at, "--since", "2026-01-02")
    assert "precision" in table.out
    assert "default" in table.out
    (market / "fixed.yaml").write_text("default: {levels: {MEDIUM: 0.4}}\n")
    assert "has no alerting" in ringwatch("policy", "what-if", market / "fixed.yaml", *at).err
    (market / "costs.yaml").write_text("default: {alerting: {costs: {false_alert_minor: 500}}}\n")
    assert ringwatch("policy", "what-if", market / "costs.yaml", *at, "--json").json()[0]["kind"] == "costs"
