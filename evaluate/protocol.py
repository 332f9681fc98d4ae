"""Protocols: which rows train, which test, which labels feed back, which figures count. A small YAML, or options.

split:                     # one of: folds, time_share, random, file
  folds:
    - {train_from: 2018-07-25, train_until: 2018-08-01, test_from: 2018-08-08, test_until: 2018-08-15}
labels: all                # all: every label after its delay; train: only labels of training rows
exclude_known_fraud: {entity: user, delay_days: 7}
metrics: [roc_auc, average_precision, precision_at_100]
precision_entity: user
without: {target: T1822}   # report also without the events of this entity
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from ringwatch.errors import BadInput
from ringwatch.model import MICROSECONDS

_KEYS = {"split", "labels", "exclude_known_fraud", "metrics", "precision_entity", "without"}
_METRICS = ("roc_auc", "average_precision", "f1_macro")


@dataclass(frozen=True, slots=True)
class Fold:
    """Half-open spans of event time in microseconds."""

    train_from_us: int
    train_until_us: int
    test_from_us: int
    test_until_us: int


@dataclass(frozen=True, slots=True)
class Protocol:
    folds: tuple[Fold, ...] = ()
    time_share: float | None = None
    """First share of the labelled rows, in order of time, that trains."""
    random_test_size: float | None = None
    seed: int = 2
    file: Path | None = None
    labels: str = "all"
    exclude_entity: str | None = None
    exclude_delay_days: int = 7
    metrics: tuple[str, ...] = ("roc_auc", "average_precision")
    precision_entity: str = "user"
    without: dict[str, str] = field(default_factory=dict)


def instant_us(value: Any, where: str) -> int:
    """A date or time, UTC where no zone is given."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise BadInput(f"{where} is {value!r}", hint="write a date such as 2018-07-25") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise BadInput(f"{where} is {value!r}", hint="write a date such as 2018-07-25")
    return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * MICROSECONDS)


def fold_of(raw: Any, where: str) -> Fold:
    names = ("train_from", "train_until", "test_from", "test_until")
    if not isinstance(raw, dict) or set(raw) != set(names):
        lacks = [name for name in names if not isinstance(raw, dict) or name not in raw]
        raise BadInput(f"{where} lacks {', '.join(lacks)}" if lacks else f"{where} is {raw!r}",
                       hint=f"it needs {', '.join(names)}")  # fmt: skip
    fold = Fold(*(instant_us(raw[name], f"{where}.{name}") for name in names))
    if not fold.train_from_us < fold.train_until_us <= fold.test_from_us < fold.test_until_us:
        raise BadInput(f"{where} is out of order", hint="train_from < train_until <= test_from < test_until")
    return fold


def load_protocol(path: Path) -> Protocol:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"protocol {path} cannot be read: {error}", hint="see docs/backtest.md") from None
    if not isinstance(content, dict) or set(content) - _KEYS:
        unknown = sorted(set(content) - _KEYS) if isinstance(content, dict) else content
        raise BadInput(f"{path}: {unknown} is not known", hint=f"known: {', '.join(sorted(_KEYS))}")
    split = content.get("split") or {}
    if not isinstance(split, dict) or len(split) != 1:
        raise BadInput(f"{path}: split is {split!r}", hint="one of folds, time_share, random, file")
    metrics = tuple(content.get("metrics") or ("roc_auc", "average_precision"))
    for name in metrics:
        if name not in _METRICS and not (name.startswith("precision_at_") and name[13:].isdigit()):
            raise BadInput(f"{path}: metric {name!r} is not known", hint=f"{', '.join(_METRICS)}, precision_at_<k>")
    if content.get("labels", "all") not in ("all", "train"):
        raise BadInput(f"{path}: labels is {content['labels']!r}", hint="all or train")
    exclude = content.get("exclude_known_fraud") or {}
    if not isinstance(exclude, dict) or not isinstance(exclude.get("delay_days", 7), int):
        raise BadInput(f"{path}: exclude_known_fraud is {exclude!r}", hint="write {entity: user, delay_days: 7}")
    without = content.get("without") or {}
    if not isinstance(without, dict):
        raise BadInput(f"{path}: without is {without!r}", hint="write {kind: id}")
    return Protocol(
        **_split(split, str(path)),
        labels=content.get("labels", "all"),
        exclude_entity=exclude.get("entity"),
        exclude_delay_days=int(exclude.get("delay_days", 7)),
        metrics=metrics,
        precision_entity=content.get("precision_entity", "user"),
        without=dict(without),
    )


def _split(split: dict[str, Any], where: str) -> dict[str, Any]:
    ((kind, value),) = split.items()
    if kind == "folds" and isinstance(value, list) and value:
        return {"folds": tuple(fold_of(raw, f"{where}: fold {i}") for i, raw in enumerate(value, 1))}
    if kind == "time_share" and isinstance(value, float) and 0.0 < value < 1.0:
        return {"time_share": value}
    if kind == "random" and isinstance(value, dict) and not set(value) - {"test_size", "seed"}:
        size, seed = value.get("test_size", 0.3), value.get("seed", 2)
        if isinstance(size, float) and 0.0 < size < 1.0 and isinstance(seed, int) and seed >= 0:
            return {"random_test_size": size, "seed": seed}
    if kind == "file":
        return {"file": Path(str(value))}
    raise BadInput(
        f"{where}: split is {split!r}", hint="folds: [..], time_share: 0.7, random: {test_size: 0.6, seed: 2}, file: F"
    )
