"""The starter sets that are shipped: rules to begin with, by kind of business, in mode shadow."""

from __future__ import annotations

from pathlib import Path

from ringwatch.errors import NotFound, did_you_mean

_FOLDER = Path(__file__).parent / "starter"


def starter_names() -> list[str]:
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def starter_text(name: str) -> str:
    """Raises NotFound."""
    if name not in starter_names():
        raise NotFound(f"there is no starter set {name!r}", hint=did_you_mean(name, starter_names()))
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")
