"""The keys of a mapping, checked one by one: what is known, what is needed, and the line to mend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.values import show
from ringwatch.errors import BadInput, did_you_mean

At = tuple[str, ...]
"""A key's path from the top of the mapping."""


class Keys:
    """Looks at what a mapping says under a path; remembers every column it names."""

    def __init__(self, lines: dict[At, int], path: str) -> None:
        self.lines = lines
        self._path = path
        self.columns: dict[str, int] = {}
        """Column -> line that names it first."""

    def line(self, at: At) -> int:
        """The line of a path; of what is above it where it has none of its own."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)

    def wrong(self, at: At, what: str, hint: str) -> BadInput:
        line = self.line(at)
        return BadInput(f"{self._path}:{line}: {what}", hint=hint, line=line)

    def under(self, at: At, given: Any, known: Sequence[str]) -> dict[str, Any]:
        """The keys under a path, each known; nothing there is no keys."""
        if given is None:
            return {}
        if not isinstance(given, dict):
            what = f"{'.'.join(at)} is {show(given, quote=True)}"
            raise self.wrong(at, what, f"keys with values are needed: {', '.join(known)}")
        for key in given:
            if key not in known:
                raise self.wrong((*at, str(key)), f"key {show(key, quote=True)} is not known", _near(key, known))
        return given

    def one_of(self, at: At, value: Any, known: Sequence[str]) -> Any:
        if value is not None and value not in known:
            raise self.wrong(at, f"{'.'.join(at)} is {show(value, quote=True)}", _near(value, known))
        return value

    def spec(self, at: At, raw: Any, known: Sequence[str]) -> dict[str, Any]:
        """A column's name or {column: name, ...}."""
        return self.under(at, raw if isinstance(raw, dict) else {"column": raw}, known)

    def names(self, at: At, raw: Any, most: int = 4) -> list[str]:
        """One column or a list of them, remembered as needed."""
        names = raw if isinstance(raw, list) else [raw]
        if not 0 < len(names) <= most or not all(type(n) in (str, int) for n in names):
            needed = (
                "the name of a column is needed" if most == 1 else f"the name of a column, or up to {most} in a list"
            )
            raise self.wrong(at, f"{'.'.join(at)} is {show(raw, quote=True)}", needed)
        inner = (*at, "column")
        for name in names:
            self.columns.setdefault(str(name), self.line(inner))
        return [str(name) for name in names]

    def name(self, at: At, raw: Any) -> str:
        return self.names(at, raw, 1)[0]


def _near(value: object, known: Sequence[str]) -> str:
    return did_you_mean(show(value), known)
