"""Small training sets: a model of a few labelled rows against a plain random forest on the same inputs.

python bench/small_sets.py transactions.parquet --map mappings/handbook.yaml --draws 8 --json out.json

Features are of the whole stream. Each draw takes so many rows with so many frauds of the earlier part of the labelled time, and tests
on the later part; both learn from the same rows. The forest is scikit-learn's with its defaults, missing values as it takes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from about import machine
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluate.holdout import predict
from features.schema import FeatureSchema
from ringwatch.commands.options import mapping_from, settings_with
from ringwatch.wiring import open_source, open_stream
from scorers.decision import Decisions
from training.fit import learn
from training.labelled import FRAUD, GOOD, read_rows
from training.replay import Replay
from training.table import Table, TableBuilder


def table_of(path: str, map_file: Path) -> Table:
    """Rows with labels, with features of the whole stream."""
    settings, mapping = settings_with(), mapping_from(map_file)
    assert mapping is not None
    schema = FeatureSchema(mapping.kinds)
    source = open_source(settings, [path], mapping, mapping.kinds)
    rows, stream = read_rows(source), open_stream(settings, schema)
    label = np.array(rows.label, np.int8)
    builder = TableBuilder(schema, stream.assessor.names, label >= 0, frozenset(rows.kinds))
    done = 0

    def keep(decisions: Decisions, of: NDArray[np.int64]) -> None:
        nonlocal done
        builder.keep(decisions, of)
        done += len(of)
        print(f"\r{done:,} of {len(label):,} events", end="", file=sys.stderr)

    Replay(stream, rows, np.ones(len(label), np.bool_), None, keep).run(source)
    print(file=sys.stderr)
    return builder.table(label, np.array(rows.known_us))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--frauds", type=int, default=200)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--split", type=float, default=0.6, help="share of the labelled time that is drawn from")
    parser.add_argument("--test-rows", type=int, default=100_000, help="of the later part at most, evenly")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    whole = table_of(given.path, given.map)
    order = whole.labelled()
    cut = int(len(order) * given.split)
    early, late = order[:cut], order[cut:]
    test = whole.where(late[np.unique(np.linspace(0, len(late) - 1, given.test_rows).astype(np.int64))])
    truth = test.label == FRAUD
    runs = []
    for draw in range(given.draws):
        rng = np.random.default_rng(draw)
        frauds, goods = (early[whole.label[early] == sort] for sort in (FRAUD, GOOD))
        some = np.concatenate(
            [
                rng.choice(frauds, given.frauds, replace=False),
                rng.choice(goods, given.rows - given.frauds, replace=False),
            ]
        )
        train = whole.where(np.sort(some))
        model = predict(learn(train, seed=draw).model, test)
        forest = RandomForestClassifier(random_state=draw, n_jobs=1)
        forest.fit(np.column_stack([train.features, train.scores]), train.label)
        plain = forest.predict_proba(np.column_stack([test.features, test.scores]))[:, 1]
        found = {
            name: {
                "roc_auc": float(roc_auc_score(truth, s)),
                "average_precision": float(average_precision_score(truth, s)),
            }
            for name, s in (("model", model), ("forest", plain))
        }
        runs.append(found)
        print(f"draw {draw}: {found}", file=sys.stderr)
    for metric in ("roc_auc", "average_precision"):
        model, plain = (np.array([r[name][metric] for r in runs]) for name in ("model", "forest"))
        less = model - plain
        print(
            f"{metric}: model {model.mean():.4f}, forest {plain.mean():.4f}, difference {less.mean():+.4f}, "
            f"standard error {less.std(ddof=1) / np.sqrt(len(less)):.4f}"
        )
    if given.json is not None:
        given.json.write_text(
            json.dumps({"machine": machine(), "rows": given.rows, "frauds": given.frauds, "runs": runs}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
