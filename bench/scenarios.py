"""What a backtest finds of each kind of fraud, where the data tell kinds apart that no event shows.

ringwatch backtest transactions.parquet --map mappings/handbook.yaml --protocol mappings/handbook.protocol.yaml --out scores.parquet
python bench/scenarios.py scores.parquet transactions.parquet [--id TRANSACTION_ID] [--kind TX_FRAUD_SCENARIO] [--alerted 0.01] [--json PATH]

Of test events, whichever fold they are of: recall among the share `--alerted` with the highest score, AUC ROC and average precision of each kind
of fraud against all good events. Labelled events with kind 0 are good. Events that the protocol leaves out of its figures count here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from about import machine
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="what `ringwatch backtest --out` wrote")
    parser.add_argument("data", type=Path, help="the data it was made of")
    parser.add_argument("--id", default="TRANSACTION_ID")
    parser.add_argument("--kind", default="TX_FRAUD_SCENARIO")
    parser.add_argument("--alerted", type=float, default=0.01)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scored = pq.read_table(given.scores, columns=["event_id", "learned"])
    tested = scored.filter(scored["learned"].is_valid())
    data = pq.read_table(given.data, columns=[given.id, given.kind])
    names = [str(name) for name in data[given.id].to_pylist()]
    kind_of = dict(zip(names, data[given.kind].to_pylist(), strict=True))
    score = tested["learned"].to_numpy()
    kind = np.array([kind_of[name] for name in tested["event_id"].to_pylist()])
    order = np.argsort(-score, kind="stable")
    alerted = np.zeros(len(score), np.bool_)
    alerted[order[: round(given.alerted * len(score))]] = True
    report = {"machine": machine(), "tested": len(score), "alerted": int(alerted.sum()), "kinds": {}}
    shown = Table("kind", "frauds", f"recall at {given.alerted:.1%} alerted", "AUC ROC", "average precision")
    for one in [*np.unique(kind[kind > 0]).tolist(), "all"]:
        mine = kind > 0 if one == "all" else kind == one
        some = mine | (kind == 0)
        figures = {
            "frauds": int(mine.sum()), "recall": float(alerted[mine].mean()),
            "roc_auc": float(roc_auc_score(mine[some], score[some])),
            "average_precision": float(average_precision_score(mine[some], score[some])),
        }  # fmt: skip
        report["kinds"][str(one)] = figures
        shown.add_row(str(one), f"{figures['frauds']:,}", *(f"{x:.3f}" for x in list(figures.values())[1:]))
    Console().print(shown)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
