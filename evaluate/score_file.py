"""Every event of a backtest with its part, score and reasons, to Parquet or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluate.splits import Part
from ringwatch.errors import BadInput
from ringwatch.model import Action, Level
from scorers.decision import Decisions
from scorers.learned.inputs import OF_MODELS
from training.labelled import UNLABELLED, Rows


class ScoreFile:
    """Rows are kept until `close`, when what models gave is known."""

    def __init__(self, path: Path, rows: Rows, folds: Sequence[Part]) -> None:
        if path.suffix not in (".parquet", ".csv"):
            raise BadInput(f"--out is {path}", hint="the name ends in .parquet or .csv")
        path.unlink(missing_ok=True)
        self._path, self._rows = path, rows
        train = np.any([fold.train for fold in folds], axis=0)
        test = np.any([fold.test for fold in folds], axis=0)
        self._part = np.where(test, "test", np.where(train, "train", ""))
        self._tables: list[pa.Table] = []
        self._at: list[NDArray[np.int64]] = []

    def write(self, d: Decisions, rows: NDArray[np.int64]) -> None:
        label = [self._rows.label[i] for i in rows.tolist()]
        columns: dict[str, object] = {
            "event_id": [e.event_id for e in d.events],
            "at": pa.array([e.at_us for e in d.events], pa.timestamp("us", "UTC")),
            "user": pa.array([e.user for e in d.events], pa.string()),
            "part": self._part[rows].tolist(),
            "score": d.score,
            "level": [Level(int(v)).name for v in d.level],
            "action": [Action(int(v)).name.lower() for v in d.action],
            "label": pa.array([None if v == UNLABELLED else ("fraud" if v else "good") for v in label], pa.string()),
            "reasons": pa.array(["; ".join(r.text for r in rs) or None for rs in d.reasons], pa.string()),
        }
        for j, name in enumerate(d.scorer_names):
            if name not in OF_MODELS:
                columns[name] = pa.array(d.scores[:, j], pa.float64(), from_pandas=True)
        self._tables.append(pa.table(columns))
        self._at.append(rows)

    def close(self, learned: NDArray[np.float64]) -> None:
        """`learned` (rows of the source,): probabilities of trained models, NaN where there are none; left out if there is none at all."""
        table = pa.concat_tables(self._tables)
        given = learned[np.concatenate(self._at)]
        if not np.isnan(given).all():
            table = table.add_column(5, "learned", pa.array(given, pa.float64(), from_pandas=True))
        if self._path.suffix == ".csv":
            from pyarrow.csv import write_csv

            write_csv(table, self._path)
        else:
            pq.write_table(table, self._path)
