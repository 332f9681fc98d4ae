"""A condition's text cut into tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 4000
"""Characters of a condition."""
_MOST = 800
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?(?P<unit>[smhd](?![\w.]))?)"
    r"|(?P<text>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[\w-]*\w)?)"
    r"|(?P<sign><=|>=|!=|==|[=<>+\-*/(),\[\]]))",
    re.ASCII,
)
WORDS = frozenset(("and", "or", "not", "in", "between", "is", "missing", "true", "false"))


class Misread(Exception):
    """A condition that cannot be used: what is wrong, at which character, what to do."""

    def __init__(self, text: str, at: int, hint: str = "") -> None:
        super().__init__(text)
        self.text, self.at, self.hint = text, at, hint


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """"number", "text", "name", "word", "sign" or "end"."""
    text: str
    at: int
    value: float = 0.0


def tokens_of(condition: str) -> list[Token]:
    """Raises Misread. The last token is the end."""
    if len(condition) > LONGEST:
        raise Misread(f"{len(condition):,} characters are too many for a condition", 0, "make several rules of it")
    found: list[Token] = []
    at, end = 0, len(condition.rstrip())
    while at < end:
        match = _TOKEN.match(condition, at)
        if match is None:
            at += len(condition[at:]) - len(condition[at:].lstrip())
            raise _unreadable(condition, at)
        found.append(_token(match))
        at = match.end()
        if len(found) > _MOST:
            raise Misread(f"a condition of more than {_MOST} words", at - 1, "make several rules of it")
    found.append(Token("end", "", end))
    return found


def _token(match: re.Match[str]) -> Token:
    kind = str(match.lastgroup) if match.lastgroup != "unit" else "number"
    text, at = match.group(kind), match.start(kind)
    if kind == "number":
        unit = match.group("unit") or ""
        value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
        if value == float("inf"):
            raise Misread("a number that is too large", at)
        if match.string[match.end() : match.end() + 1].isalnum() or match.string[match.end() : match.end() + 1] == "_":
            raise Misread("a number with letters behind it", at, "texts are quoted; 10m, 2h, 7d are durations")
        return Token(kind, text, at, value)
    if kind == "text":
        return Token(kind, text[1:-1], at)
    if kind == "name" and text.lower() in WORDS:
        return Token("word", text.lower(), at)
    return Token(kind, "=" if text == "==" else text, at)


def _unreadable(condition: str, at: int) -> Misread:
    c = condition[at]
    if c in "'\"":
        return Misread("a text without its closing quote", at, "texts stand between quotes, on one line")
    if c in "&|!":
        return Misread(f"the sign {c!r} is not known", at, "write and, or, not")
    hint = "a condition has names, numbers, quoted texts, and or not, comparisons and + - * /"
    return Misread(f"the sign {c!r} is not known", at, hint)


def canonical(tokens: list[Token]) -> str:
    """The condition without its spacing: equal for equal conditions."""
    return " ".join(
        repr(t.text) if t.kind == "text" else repr(t.value) if t.kind == "number" else t.text for t in tokens
    )
