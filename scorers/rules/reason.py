"""A rule's reason: a sentence with {names}, filled with the event's values in words a person reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scorers.rules.names import ATTRIBUTE, Column, Names
from scorers.rules.tokens import Misread
from scorers.rules.trouble import masked

LONGEST = 500
"""Characters of a reason."""
_PLACE = re.compile(r"\{([^{}]*)\}")
_LONGEST_VALUE = 64
_DURATIONS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


@dataclass(frozen=True, slots=True)
class Reason:
    """Texts and columns in turn: texts[0] columns[0] texts[1] ..."""

    texts: tuple[str, ...]
    columns: tuple[Column, ...]
    shows: tuple[Callable[[Any], str], ...]

    def words(self, values: Mapping[Column, Any]) -> str:
        parts = [self.texts[0]]
        for text, column, show in zip(self.texts[1:], self.columns, self.shows, strict=True):
            parts += [show(values[column]), text]
        return "".join(parts)


def parse_reason(text: str, names: Names, read_as: Mapping[str, Column]) -> Reason:
    """`read_as`: how the rule's condition reads its names. Raises Misread."""
    if len(text) > LONGEST:
        raise Misread(f"{len(text)} characters are too many for a reason", 0, f"at most {LONGEST}")
    columns: list[Column] = []
    texts: list[str] = []
    end = 0
    for match in _PLACE.finditer(text):
        texts.append(text[end : match.start()])
        columns.append(_column(match.group(1).strip(), match.start() + 1, names, read_as))
        end = match.end()
    texts.append(text[end:])
    for part in texts:
        if "{" in part or "}" in part:
            raise Misread("a brace without its other one", text.index(part) + re.search(r"[{}]", part).start())  # type: ignore[union-attr]
    return Reason(tuple(texts), tuple(columns), tuple(_show(c, names) for c in columns))


def _column(name: str, at: int, names: Names, read_as: Mapping[str, Column]) -> Column:
    if names.is_identifier(name):
        raise Misread(f"{{{name}}} would show an identifier", at, f"`about: {name}` names the {name} beside the reason")
    if name.startswith(ATTRIBUTE):
        column = read_as.get(name)
        if column is None or column.type == "any":
            raise Misread(f"{{{name}}} is not compared in the condition", at, "only what it compares can be shown")
        return column
    kind = names.type_of(name)
    if kind is None:
        raise Misread(f"there is no {name!r}", at, names.hint(name))
    return Column(name, kind)


def _show(column: Column, names: Names) -> Callable[[Any], str]:
    if column.type == "text":
        return _text
    if column.type == "truth":
        return lambda v: "unknown" if v != v else "yes" if v else "no"
    unit = names.unit(column.name)
    if unit == "s":
        return _duration
    if unit == "minor units":
        return lambda v: _number(v, lambda x: f"{x / 100:,.2f}")
    if unit == "share":
        return lambda v: _number(v, lambda x: f"{100 * x:.3g} %")
    return lambda v: _number(v, _plain)


def _text(value: str | None) -> str:
    if value is None:
        return "unknown"
    value = masked(value)
    return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "..."


def _number(value: float, words: Callable[[float], str]) -> str:
    return "unknown" if value != value else words(value)


def _plain(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 or float(x).is_integer() else f"{x:.3g}"


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return "unknown"
    for size, unit in _DURATIONS:
        if abs(seconds) >= size:
            return f"{seconds / size:,.3g} {unit}" if abs(seconds) < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"
