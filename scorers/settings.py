"""Thresholds of detectors: dataclass defaults, overridden by one reviewed TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ringwatch.errors import BadInput

T = TypeVar("T")


def thresholds(cls: type[T], overrides: Mapping[str, Any], detector: str) -> T:
    """`cls` with overrides; raises BadInput naming an unknown key or a wrong type."""
    known = {f.name: f.default for f in fields(cls)}  # type: ignore[arg-type]
    for key, value in overrides.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise BadInput(
                f"detector {detector} has no threshold {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(sorted(known))}",
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"threshold {detector}.{key} is {value!r}", hint="a number is needed")
    return cls(**{key: float(value) for key, value in overrides.items()})


def load_overrides(path: Path | None) -> dict[str, dict[str, Any]]:
    """The TOML file of overrides: one table a detector."""
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"detectors file {path} does not exist", hint="unset RINGWATCH_DETECTORS or mend it") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}", hint="mend the TOML") from None
    for name, table in content.items():
        if not isinstance(table, dict):
            raise BadInput(f"{path}: {name} is not a table", hint=f"write [{name}] and its thresholds below it")
    return content
