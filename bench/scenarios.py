"""What a backtest finds of each kind of fraud, where the data tell kinds apart that no event shows.

ringwatch backtest transactions.parquet --map mappings/handbook.yaml --protocol mappings/handbook.protocol.yaml --out scores.parquet
python bench/scenarios.py scores.parquet transactions.parquet --id TRANSACTION_ID --kind TX_FRAUD_SCENARIO --told TERMINAL_ID

Of test events, whichever fold they are of: recall among the share `--alerted` with the highest score, AUC ROC and average precision of each kind
of fraud against all good events. Labelled events with kind 0 are good. Events that the protocol leaves out of its figures count here.

`--told TERMINAL_ID` also cuts each kind in two: frauds before which a fraud at the same terminal had been told, not longer ago than `--memory` days,
and those before which none had. A label is known `--delay` days after its event. The AUC's standard error is by drawing terminals anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from about import machine
from numpy.typing import NDArray
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
    parser.add_argument(
        "--told", metavar="ENTITY", help="column by which frauds are cut into those told of before and others"
    )
    parser.add_argument("--time", default="TX_DATETIME")
    parser.add_argument("--delay", type=float, default=7.0, help="days (default 7)")
    parser.add_argument("--memory", type=float, default=28.0, help="days (default 28)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scored = pq.read_table(given.scores, columns=["event_id", "learned"])
    tested = scored.filter(scored["learned"].is_valid())
    columns = [given.id, given.kind, *([given.told, given.time] if given.told else [])]
    data = pq.read_table(given.data, columns=columns)
    row_of = {str(name): row for row, name in enumerate(data[given.id].to_pylist())}
    rows = np.array([row_of[name] for name in tested["event_id"].to_pylist()])
    score = tested["learned"].to_numpy()
    kinds = data[given.kind].to_numpy()
    kind = kinds[rows]
    order = np.argsort(-score, kind="stable")
    alerted = np.zeros(len(score), np.bool_)
    alerted[order[: round(given.alerted * len(score))]] = True
    some = {str(one): kind == one for one in np.unique(kind[kind > 0]).tolist()}
    entity = None
    if given.told:
        names = data[given.told].to_numpy()
        day = data[given.time].to_numpy().astype("datetime64[us]").astype(np.int64) / 86_400e6
        told = told_before(names, day, kinds > 0, given.delay, given.memory)[rows]
        entity = names[rows]
        some |= {
            f"{one}, {words}": of & which
            for one, of in some.items()
            for words, which in (("told of", told), ("not told of", ~told))
        }
    report = {"machine": machine(), "tested": len(score), "alerted": int(alerted.sum()), "kinds": {}}
    shown = Table("kind", "frauds", f"recall at {given.alerted:.1%} alerted", "AUC ROC", "average precision")
    for one, frauds in {**some, "all": kind > 0}.items():
        against = frauds | (kind == 0)
        figures = {
            "frauds": int(frauds.sum()), "recall": float(alerted[frauds].mean()),
            "roc_auc": float(roc_auc_score(frauds[against], score[against])),
            "average_precision": float(average_precision_score(frauds[against], score[against])),
        }  # fmt: skip
        error = ""
        if entity is not None:
            figures["entities"] = len(np.unique(entity[frauds]))
            figures["roc_auc_error"] = standard_error(score[frauds], score[kind == 0], entity[frauds])
            error = f" ± {figures['roc_auc_error']:.3f}, {figures['entities']:,} entities"
        report["kinds"][one] = figures
        shown.add_row(
            one,
            f"{figures['frauds']:,}",
            f"{figures['recall']:.3f}",
            f"{figures['roc_auc']:.3f}{error}",
            f"{figures['average_precision']:.3f}",
        )
    Console().print(shown)
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


def told_before(
    entity: NDArray[np.generic], day: NDArray[np.float64], fraud: NDArray[np.bool_], delay: float, memory: float
) -> NDArray[np.bool_]:
    """Of each event, whether a fraud of its entity was known by then that is at most `memory` days old."""
    _, number = np.unique(entity, return_inverse=True)
    far = 2.0 * (day.max() - day.min() + delay + memory)
    frauds = np.sort(number[fraud] * far + day[fraud])
    at = number * far + day
    return np.searchsorted(frauds, at - delay, "right") > np.searchsorted(frauds, at - memory)


def standard_error(fraud: NDArray[np.float64], good: NDArray[np.float64], entity: NDArray[np.generic]) -> float:
    """Of the AUC of frauds against good events, by drawing the frauds' entities anew (Efron: Bootstrap methods, 1979)."""
    good = np.sort(good)
    rank = (np.searchsorted(good, fraud) + np.searchsorted(good, fraud, "right")) / (2.0 * len(good))
    _, number = np.unique(entity, return_inverse=True)
    times = np.random.default_rng(0).poisson(1.0, (500, number.max() + 1))[:, number]
    return float((times @ rank / np.maximum(times.sum(axis=1), 1)).std())


if __name__ == "__main__":
    main()
