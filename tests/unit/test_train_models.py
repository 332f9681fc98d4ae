"""Training, the registry and what serves, by the commands, on a real registry in a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from support.cli import ringwatch
from support.streams import START_US
from typer.testing import CliRunner

from evaluate.holdout import Bin, _scored, brier, ece, recall_alerted, reliability
from features.schema import FeatureSchema
from ringwatch.cli import app
from ringwatch.errors import BadInput, NotFound, StoreAway
from ringwatch.model import DAY_US, HOUR_US
from ringwatch.settings import Settings
from scorers.learned.model_file import load
from scorers.learned.shelf import Serving, Shelf
from training import network
from training.promotion import against
from training.reading import read_labelled
from training.registry import Registry, Version, open_registry


def events_file(path: Path, n: int = 500) -> Path:
    """Payments of forty users; a quarter are of a gang on one device, with larger amounts. Each label comes two days later."""
    rng = np.random.default_rng(7)
    with path.open("w") as file:
        for i in range(n):
            at_us = START_US + i * HOUR_US
            fraud = rng.random() < 0.25
            device = "gang" if fraud and rng.random() < 0.8 else f"d{rng.integers(40)}"
            event = {
                "event_id": f"e{i}", "type": "payment", "user": f"u{rng.integers(40)}", "device": device, "currency": "EUR",
                "amount_minor": int(rng.integers(4000, 9000) if fraud else rng.integers(100, 6000)), "at": _at(at_us),
            }  # fmt: skip
            label = {"type": "label", "label_of": {"event": f"e{i}"}, "label": "fraud" if fraud else "good"}
            file.write(json.dumps(event) + "\n" + json.dumps({**label, "known_at": _at(at_us + 2 * DAY_US)}) + "\n")
    return path


def _at(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()


def run(*args: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, args), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def said(*args: object) -> str:
    done = CliRunner().invoke(app, list(map(str, args)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@dataclass(frozen=True)
class Trained:
    data: Path
    folder: Path
    """Of the data set."""
    reports: list[Any]


@pytest.fixture(autouse=True, scope="module")
def few_rounds() -> Iterator[None]:
    """What is tested is what becomes of a model, not how good it gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit._ROUNDS", (20, 60))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two versions: of the file, then of the data set that was kept of it."""
    at = tmp_path_factory.mktemp("trained")
    path = events_file(at / "events.jsonl")
    first = run("train", path, "--data-dir", at / "data", "--name", "first")
    (folder,) = (at / "data" / "datasets").iterdir()
    second = run("train", folder, "--data-dir", at / "data", "--seed", 1)
    return Trained(at / "data", folder, [first, second])


@pytest.fixture
def shelf(trained: Trained) -> Shelf:
    """Nothing serves, nothing was champion."""
    registry = open_registry(Settings(data_dir=trained.data))
    registry.remember_champions([])
    for alias in ("champion", "challenger"):
        registry.alias(alias, None)
    shelf = Shelf(trained.data / "models")
    (shelf.folder / "serving.json").unlink(missing_ok=True)
    return shelf


# -- training


def test_a_model_that_the_rule_beats_is_not_promoted_on_its_own(trained: Trained) -> None:
    """Labels that said the opposite before mislead a model, and not the rule; the same command promotes where the rule is not better."""
    data = trained.data.parent / "lot"
    path = events_file(trained.data.parent / "lot.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["type"] == "label" and int(line["label_of"]["event"][1:]) < 400:
            line["label"] = "good" if line["label"] == "fraud" else "fraud"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    report = run("train", path, "--data-dir", data, "--promote")
    figures = report["holdout"]
    assert figures["metrics"]["average_precision"] < figures["rule"]["average_precision"]
    assert "not promoted: the robust rule has an average precision" in report["warnings"][0]
    assert Shelf(data / "models").serving() == Serving()
    right = trained.data.parent / "right"
    better = run("train", trained.folder, "--data-dir", right, "--promote")
    assert better["warnings"] == []
    assert Shelf(right / "models").serving().champion is not None


def test_figures_are_of_the_last_part_of_the_time_by_what_was_known_before(trained: Trained) -> None:
    report, labelled = trained.reports[0], trained.reports[0]["labelled"]
    held = report["holdout"]
    assert labelled == 500
    assert (held["rows"], held["from_us"]) == (100, START_US + 400 * HOUR_US)
    assert held["trained_on"] == 400 - 47, "labels of the last two days before were not known yet"
    assert held["metrics"]["roc_auc"] > 0.8
    assert set(held["metrics"]) == {"roc_auc", "average_precision", "recall_at_1_percent", "brier", "ece", "f1_macro"}
    assert sum(b["rows"] for b in held["reliability"]) == 100
    assert trained.reports[1]["holdout"]["id"] == held["id"], "the same rows"


def test_the_model_that_is_kept_is_trained_on_all_and_says_of_what(trained: Trained, tmp_path: Path) -> None:
    registry = open_registry(Settings(data_dir=trained.data))
    version = registry.version("1")
    path = registry.fetch(version, "model.safetensors", tmp_path)
    schema = FeatureSchema()
    model, card = load(path, schema=schema.hash)
    assert (card["trained_on"], card["seed"], card["name"]) == (500, 0, "first")
    assert card["data"]["content"] == version.data == registry.version("2").data
    assert card["holdout"]["metrics"] == pytest.approx(trained.reports[0]["holdout"]["metrics"])
    assert 0.0 <= card["columns"]["device.count_24h"]["missing"] < 1.0
    assert len(model.told.names) <= 256
    for plot in ("precision-recall", "calibration", "importance"):
        assert registry.fetch(version, f"plots/{plot}.png", tmp_path).read_bytes().startswith(b"\x89PNG")
    assert version.metrics["rule.roc_auc"] == pytest.approx(trained.reports[0]["holdout"]["rule"]["roc_auc"])


def test_the_same_seed_gives_the_same_model(trained: Trained, tmp_path: Path) -> None:
    again = run("train", trained.folder, "--data-dir", tmp_path / "data", "--name", "first")
    assert again["version"]["sha256"] == trained.reports[0]["version"]["sha256"] != ""
    assert again["holdout"] == trained.reports[0]["holdout"]
    assert trained.reports[1]["holdout"]["metrics"] != again["holdout"]["metrics"], "of another seed"


def test_what_became_of_the_graph_network_is_said(trained: Trained, tmp_path: Path) -> None:
    note = trained.reports[0]["notes"][0]
    assert note.startswith("graph network: ") if network.there() else note == network.WITHOUT_TORCH
    out = run("train", trained.folder, "--no-gnn", "--data-dir", tmp_path)
    assert not any("network" in words for words in out["notes"])


def test_too_few_labels_leave_the_robust_rule_and_end_with_2(trained: Trained, tmp_path: Path) -> None:
    path = events_file(tmp_path / "few.jsonl", 60)
    done = ringwatch("train", path, "--data-dir", tmp_path / "data")
    assert done.code == 2
    assert "labels known when the held-out 20% begins" in done.err
    assert "the robust rule combines the scorers" in " ".join(done.err.split())
    assert open_registry(Settings(data_dir=tmp_path / "data")).versions() == []


def test_a_data_set_is_given_alone_and_a_share_is_one(trained: Trained) -> None:
    with pytest.raises(BadInput, match="is a data set"):
        said("train", trained.folder, trained.folder)
    with pytest.raises(BadInput, match=r"--holdout is 1\.5"):
        said("train", trained.folder, "--holdout", 1.5, "--data-dir", trained.data)


def test_a_data_folder_that_was_trained_in_takes_its_first_events(trained: Trained, tmp_path: Path) -> None:
    for name in ("registry", "models", "datasets"):
        (tmp_path / "data" / name).mkdir(parents=True)
    done = ringwatch("ingest", events_file(tmp_path / "e.jsonl", 50), "--data-dir", tmp_path / "data", "--json")
    assert (done.code, done.json()["events"]) == (0, 50)


# -- figures


def test_figures_by_hand() -> None:
    s = _scored(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    assert brier(s) == pytest.approx((0.01 + 0.64 + 0.49 + 0.01) / 4)
    assert recall_alerted(s, 0.5) == 0.5
    assert recall_alerted(s, 0.01) == 0.5, "at least one row"
    assert ece(s) == pytest.approx((0.1 + 0.8 + 0.7 + 0.1) / 4)
    tied = reliability(_scored(np.full(30, 0.25), np.arange(30) < 3))
    assert tied == (Bin(30, 0.25, 0.25, 0.25, 0.1),), "equal probabilities are of one bin"


# -- the registry


def test_list_and_show_tell_what_there_is(trained: Trained, shelf: Shelf) -> None:
    listed = run("models", "list", "--data-dir", trained.data)
    assert [v["number"] for v in listed] == ["2", "1"]
    assert [(v["label"], v["seed"]) for v in listed] == [("", "1"), ("first", "0")]
    shown = run("models", "show", 1, "--data-dir", trained.data)
    assert shown["data"]["rows"] == 500
    assert shown["holdout"]["reliability"]
    assert list(shown["importances"].values()) == sorted(shown["importances"].values(), reverse=True)
    words = said("models", "show", 1, "--data-dir", trained.data)
    assert "Strongest inputs" in words
    assert "Reliability" in words
    assert "first" in said("models", "list", "--data-dir", trained.data)
    with pytest.raises(NotFound, match="models list"):
        said("models", "show", 7, "--data-dir", trained.data)
    with pytest.raises(NotFound, match="no model 'champion'"):
        said("models", "show", "champion", "--data-dir", trained.data)


def test_what_is_promoted_serves_from_the_shelf_and_rollback_brings_back_what_served(
    trained: Trained, shelf: Shelf
) -> None:
    data = trained.data
    run("models", "promote", 1, "--data-dir", data)
    champion = shelf.serving().champion
    assert champion is not None
    assert champion.version == "1"
    load(shelf.model(champion), schema=FeatureSchema().hash)
    run("models", "promote", 2, "--as", "challenger", "--data-dir", data)
    assert [p and p.version for p in (shelf.serving().champion, shelf.serving().challenger)] == ["1", "2"]
    run("models", "promote", 2, "--data-dir", data)
    assert [p and p.version for p in (shelf.serving().champion, shelf.serving().challenger)] == ["2", None]
    assert [v["aliases"] for v in run("models", "list", "--data-dir", data)] == [["champion"], []]
    back = run("models", "rollback", "--data-dir", data)
    assert back["serving"]["champion"]["version"] == "1"
    assert shelf.serving().champion == champion
    assert run("models", "show", "champion", "--data-dir", data)["number"] == "1"
    assert "the robust rule decides again" in said("models", "rollback", "--data-dir", data)
    assert shelf.serving().champion is None
    with pytest.raises(NotFound, match="no model serves as champion"):
        said("models", "rollback", "--data-dir", data)


def test_a_champion_that_is_retired_leaves_the_rule_and_rollback_brings_it_back(trained: Trained, shelf: Shelf) -> None:
    data = trained.data
    run("models", "promote", 1, "--data-dir", data)
    run("models", "promote", 2, "--as", "challenger", "--data-dir", data)
    assert "the robust rule decides" in said("models", "retire", "--data-dir", data)
    assert [p and p.version for p in (shelf.serving().champion, shelf.serving().challenger)] == [None, "2"]
    assert [v["aliases"] for v in run("models", "list", "--data-dir", data)] == [["challenger"], []]
    with pytest.raises(NotFound, match="no model serves as champion"):
        said("models", "retire", "--data-dir", data)
    assert run("models", "retire", "challenger", "--data-dir", data)["serving"]["challenger"] is None
    assert run("models", "rollback", "--data-dir", data)["serving"]["champion"]["version"] == "1"


def test_a_promotion_that_was_cut_off_is_finished_by_the_same_again(
    trained: Trained, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = trained.data
    run("models", "promote", 1, "--data-dir", data)
    with monkeypatch.context() as cut:
        cut.setattr(Registry, "alias", Mock(side_effect=StoreAway("the registry is gone")))
        with pytest.raises(StoreAway):
            said("models", "promote", 2, "--data-dir", data)
    served = shelf.serving().champion
    assert served is not None
    assert served.version == "2"
    run("models", "promote", 2, "--data-dir", data)
    assert open_registry(Settings(data_dir=data)).champions_before == ["1"]
    assert run("models", "rollback", "--data-dir", data)["serving"]["champion"]["version"] == "1"


def test_promoting_again_changes_nothing_and_another_alias_is_refused(trained: Trained, shelf: Shelf) -> None:
    for _ in range(2):
        assert run("models", "promote", 2, "--data-dir", trained.data)["warnings"] == []
    assert open_registry(Settings(data_dir=trained.data)).champions_before == []
    with pytest.raises(BadInput, match="'best' is nothing that a model serves as"):
        said("models", "promote", 2, "--as", "best", "--data-dir", trained.data)


def test_a_worse_champion_is_warned_of(trained: Trained, shelf: Shelf) -> None:
    one, two = (open_registry(Settings(data_dir=trained.data)).version(n) for n in ("1", "2"))
    better, worse = (one, two) if one.metrics["brier"] < two.metrics["brier"] else (two, one)
    run("models", "promote", better.number, "--data-dir", trained.data)
    warnings = run("models", "promote", worse.number, "--data-dir", trained.data)["warnings"]
    assert any(f"of the champion {better.number}" in w and "brier" in w for w in warnings)


def test_figures_of_other_rows_do_not_compare() -> None:
    def version(number: str, held: str, brier: float) -> Version:
        return Version(number, "", (), "", {"brier": brier}, "0", "", held, "", "")

    assert against(version("2", "a", 0.2), version("1", "a", 0.3)) == []
    assert against(version("2", "a", 0.4), version("1", "a", 0.3)) == [
        "brier is 0.4000, of the champion 1 0.3000 on the same held-out rows"
    ]
    assert "other held-out rows" in against(version("2", "b", 0.1), version("1", "a", 0.3))[0]


def test_a_model_whose_file_is_another_is_not_put_on_the_shelf(trained: Trained, tmp_path: Path) -> None:
    registry = open_registry(Settings(data_dir=trained.data))
    version = registry.version("1")
    path = next((trained.data / "registry" / "artifacts" / version.run).rglob("model.safetensors"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    try:
        with pytest.raises(BadInput, match="not the one that was registered"):
            CliRunner().invoke(
                app, ["models", "promote", "1", "--data-dir", str(trained.data)], catch_exceptions=False,
                env={"RINGWATCH_MODELS_DIR": str(tmp_path)},
            )  # fmt: skip
    finally:
        path.write_bytes(content)


def test_the_registry_and_the_shelf_work_beside_a_service_that_holds_the_folder(trained: Trained, shelf: Shelf) -> None:
    from ringwatch.wiring import open_service

    service = open_service(Settings(data_dir=trained.data))
    try:
        run("models", "promote", 1, "--data-dir", trained.data)
    finally:
        service.close()
    assert shelf.serving().champion is not None


# -- what serving does without


def test_mlflow_and_matplotlib_are_imported_by_the_commands_about_models_only(tmp_path: Path) -> None:
    code = (
        "import sys, ringwatch.cli, ringwatch.wiring\n"
        "from ringwatch.settings import Settings\n"
        f"ringwatch.wiring.open_service(Settings(data_dir={str(tmp_path / 'data')!r})).close()\n"
        "print(sorted({'mlflow', 'matplotlib', 'lightgbm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_usage_is_not_reported() -> None:
    code = (
        "from ringwatch.settings import quieten_mlflow; quieten_mlflow()\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled; print(is_telemetry_disabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_rows_read_are_those_written(trained: Trained) -> None:
    from ringwatch.wiring import open_assessor

    scorers = {s.name: s.version for s in open_assessor(Settings(), FeatureSchema()).scorers}
    table = read_labelled(trained.folder, scorers).table
    assert len(table) == 500
    assert table.label.sum() == sum(1 for v in table.label if v == 1) > 90
