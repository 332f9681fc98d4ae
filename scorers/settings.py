"""Thresholds of detectors: dataclass defaults, overridden by one reviewed TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ringwatch.config_file import config_text
from ringwatch.errors import BadInput, did_you_mean

T = TypeVar("T")


def thresholds(cls: type[T], overrides: Mapping[str, Any], detector: str) -> T:
    """`cls` with overrides; raises BadInput naming an unknown key or a wrong type."""
    known = {f.name: f.default for f in fields(cls)}  # type: ignore[arg-type]
    for key, value in overrides.items():
        if key not in known:
            raise BadInput(f"detector {detector} has no threshold {key!r}", hint=did_you_mean(key, sorted(known)))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"threshold {detector}.{key} is {value!r}", hint="a number is needed")
        if not (math.isfinite(value) and value >= 0):
            raise BadInput(f"threshold {detector}.{key} is {value!r}", hint="a finite number, zero or more, is needed")
    made = cls(**{key: float(value) for key, value in overrides.items()})
    if not 0.0 < getattr(made, "alert_at", 1.0) <= 1.0:
        raise BadInput(f"threshold {detector}.alert_at is {made.alert_at}", hint="above 0, up to 1")  # type: ignore[attr-defined]
    for start in known:
        full = start.removesuffix("_from") + "_full"
        if start.endswith("_from") and full in known and not getattr(made, start) > getattr(made, full):
            message = f"threshold {detector}.{start} is {getattr(made, start)}, {full} is {getattr(made, full)}"
            raise BadInput(message, hint="it begins above and is full below")
    for low in known:
        high = low.replace("low", "high")
        if high != low and high in known and not getattr(made, low) < getattr(made, high):
            message = f"threshold {detector}.{low} is {getattr(made, low)}, {high} is {getattr(made, high)}"
            raise BadInput(message, hint="the low one must be below the high one")
    return made


def load_overrides(path: Path | None) -> dict[str, dict[str, Any]]:
    """The TOML file of overrides: one table a detector."""
    if path is None:
        return {}
    try:
        content = tomllib.loads(config_text(path, "detectors file", "RINGWATCH_DETECTORS"))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}", hint="mend the TOML") from None
    for name, table in content.items():
        if not isinstance(table, dict):
            raise BadInput(f"{path}: {name} is not a table", hint=f"write [{name}] and its thresholds below it")
    return content
