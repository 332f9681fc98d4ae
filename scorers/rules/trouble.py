"""What is wrong with a rule file: everything at once, each with its line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ringwatch.errors import BadInput

_DIGITS = re.compile(r"\d(?:[ ._-]?\d){11,}")


def masked(text: str) -> str:
    """Text with long numbers taken out, since they may be card numbers or phones, and on one line."""
    return _DIGITS.sub("[number]", text).replace("\n", " ")


def shown(value: object) -> str:
    """A value as a message names it: short, without long numbers."""
    text = masked(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """In a file, counted from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Trouble:
    place: Place
    text: str
    hint: str = ""

    def at(self, path: str) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{path}:{self.place.line}:{self.place.column}: {self.text}{hint}"


@dataclass(slots=True)
class Troubles:
    """Collects troubles while a file is read, so that all of them can be told."""

    path: str
    found: list[Trouble] = field(default_factory=list)

    def add(self, place: Place, text: str, hint: str = "") -> None:
        self.found.append(Trouble(place, masked(text), masked(hint)))

    def raise_if_any(self) -> None:
        """Raises BadInput with the first, and all of them in `context["troubles"]`."""
        if not self.found:
            return
        lines = [t.at(self.path) for t in sorted(set(self.found))]
        first = min(self.found)
        more = f"; {len(lines) - 1} more, `ringwatch rules check` lists all" if len(lines) > 1 else ""
        message = f"{self.path}:{first.place.line}:{first.place.column}: {first.text}"
        raise BadInput(message, hint=f"{first.hint or 'mend that line'}{more}", line=first.place.line, troubles=lines)
