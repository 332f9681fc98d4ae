"""Which rows train and which test: the splits of a protocol."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluate.protocol import Fold, Protocol
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US
from training.labelled import FRAUD, UNLABELLED, Rows


@dataclass(frozen=True, slots=True)
class Part:
    """Events of a fold, each (events,)."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    excluded: NDArray[np.bool_]
    from_us: int | None = None
    """When the test begins, where it is later than the training: what nobody knew by then does not teach."""


def folds_of(rows: Rows, protocol: Protocol, at_us: NDArray[np.int64], label: NDArray[np.int8]) -> list[Part]:
    none = np.zeros(len(at_us), np.bool_)
    if protocol.folds:
        return [_time_fold(rows, protocol, fold, at_us, label) for fold in protocol.folds]
    if protocol.time_share is not None:
        order = np.arange(len(at_us)) if rows.sorted else np.lexsort((np.array(rows.ids), at_us))
        labelled = order[label[order] != UNLABELLED]
        cut = int(protocol.time_share * len(labelled))
        last_us = at_us[labelled[cut - 1]] if cut else at_us.min() - 1
        return [Part(at_us <= last_us, at_us > last_us, none, int(last_us))]
    if protocol.random_test_size is not None:
        from sklearn.model_selection import train_test_split

        classes = np.where(label == UNLABELLED, 2, label)
        train, _ = train_test_split(
            np.arange(len(at_us)), test_size=protocol.random_test_size, stratify=classes, random_state=protocol.seed,
            shuffle=True,
        )  # fmt: skip
        is_train = none.copy()
        is_train[train] = True
        return [Part(is_train, ~is_train, none)]
    if protocol.file is not None:
        return [_file_split(rows, protocol.file)]
    return [Part(none, ~none, none)]


def _time_fold(rows: Rows, protocol: Protocol, fold: Fold, at_us: NDArray[np.int64], label: NDArray[np.int8]) -> Part:
    """Spans of time; an entity with a fraud on a day from the training start to test day - (delay + 1) is left out
    of that test day."""
    train = (at_us >= fold.train_from_us) & (at_us < fold.train_until_us)
    test = (at_us >= fold.test_from_us) & (at_us < fold.test_until_us)
    excluded = np.zeros(len(at_us), np.bool_)
    if protocol.exclude_entity is not None:
        entity = np.array(rows.entity)
        days = at_us // DAY_US
        known = (label == FRAUD) & (at_us >= fold.train_from_us)
        first_fraud: dict[int, int] = {}
        for code, day in zip(entity[known].tolist(), days[known].tolist(), strict=True):
            first_fraud[code] = min(day, first_fraud.get(code, day))
        for i in np.flatnonzero(test):
            day = first_fraud.get(int(entity[i]))
            excluded[i] = day is not None and day <= days[i] - protocol.exclude_delay_days - 1
    return Part(train, test, excluded, fold.test_from_us)


def _file_split(rows: Rows, path: Path) -> Part:
    train = np.zeros(len(rows.ids), np.bool_)
    test = train.copy()
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            part, event_id = row.get("part"), row.get("event_id")
            if part not in ("train", "test", "") or event_id is None:
                raise BadInput(
                    f"{path}:{number}: {row}", hint="the columns are event_id and part (train, test or empty)"
                )
            i = rows.index.get(event_id)
            if i is not None and part:
                (train if part == "train" else test)[i] = True
    return Part(train, test, np.zeros(len(rows.ids), np.bool_))
