"""The grammar of conditions: text in, a tree out. Nothing is ever evaluated as code.

condition   = conjunction { "or" conjunction }
conjunction = negation { "and" negation }
negation    = "not" negation | test
test        = sum [ ("=" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" list
                  | ["not"] "between" sum "and" sum | "is" ["not"] "missing" ]
sum         = product { ("+" | "-") product }
product     = factor { ("*" | "/") factor }
factor      = number | text | "true" | "false" | name | "-" factor | "(" condition ")"
list        = "(" literal { "," literal } ")" | "[" literal { "," literal } "]"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scorers.rules.names import Type
from scorers.rules.tokens import Misread, Token, canonical, tokens_of

_DEEPEST = 40
_MOST_ARITHMETIC = 100
"""Signs + - * / in one condition."""
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Literal:
    value: float | str | bool
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    at: int
    type: Type | None = None
    """As what it is read; set by `check`."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    sign: str
    """+ - * /"""
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Comparison:
    sign: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Member:
    value: Node
    literals: tuple[Literal, ...]
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Missing:
    value: Node
    negated: bool
    at: int


@dataclass(frozen=True, slots=True)
class Joined:
    """`parts` joined by "and" or "or"."""

    word: str
    parts: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    part: Node
    at: int


Node = Literal | Name | Arithmetic | Comparison | Member | Missing | Joined | Not


@dataclass(frozen=True, slots=True)
class Parsed:
    tree: Node
    canonical: str
    names: tuple[Name, ...]
    """Every name in it."""


def parse(condition: str) -> Parsed:
    """Raises Misread with the character where reading failed."""
    tokens = tokens_of(condition)
    if len(tokens) == 1:
        raise Misread("the condition is empty", 0, "for example: device.neighbours_24h >= 5")
    parser = _Parser(tokens)
    tree = parser.condition()
    if parser.next.kind != "end":
        raise parser.unexpected("and, or or the end")
    return Parsed(tree, canonical(tokens), tuple(Name(t.text, t.at) for t in tokens if t.kind == "name"))


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._i = 0
        self._depth = 0
        self._signs = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._i]

    def _take(self) -> Token:
        token = self._tokens[self._i]
        self._i = min(self._i + 1, len(self._tokens) - 1)
        return token

    def _given(self, *texts: str) -> bool:
        """Takes the words or signs if they are what comes next."""
        some = self._tokens[self._i : self._i + len(texts)]
        if len(some) == len(texts) and all(
            t.kind in ("word", "sign") and t.text == x for t, x in zip(some, texts, strict=True)
        ):
            self._i += len(texts)
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._given(text):
            raise self.unexpected(repr(text))

    def unexpected(self, wanted: str) -> Misread:
        token = self.next
        if token.kind == "end":
            return Misread(f"the condition ends where {wanted} is needed", token.at)
        hint = "between a and b, or two comparisons joined by and" if token.text in _COMPARISONS else ""
        what = "a text" if token.kind == "text" else repr(token.text)
        return Misread(f"{what} stands where {wanted} is needed", token.at, hint)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Misread("nested too deeply", self.next.at, "make several rules of it")

    def condition(self) -> Node:
        return self._joined("or", lambda: self._joined("and", self._negation))

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        at = self.next.at
        parts = [part()]
        while self._given(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts), at)

    def _negation(self) -> Node:
        at = self.next.at
        if not self._given("not"):
            return self._test()
        self._deeper()
        node = Not(self._negation(), at)
        self._depth -= 1
        return node

    def _test(self) -> Node:
        left, at = self._sum(), self.next.at
        if self.next.kind == "sign" and self.next.text in _COMPARISONS:
            sign = self._take().text
            return Comparison(sign, left, self._sum(), at)
        if self._given("is"):
            negated = self._given("not")
            if self._given("missing"):
                return Missing(left, negated, at)
            if self.next.text in ("true", "false"):
                return Comparison("!=" if negated else "=", left, self._factor(), at)
            raise self.unexpected("missing, true or false")
        negated = self._given("not", "in")
        if negated or self._given("in"):
            return Member(left, self._list(), negated, at)
        negated = self._given("not", "between")
        if negated or self._given("between"):
            low = self._sum()
            self._need("and")
            both = Joined("and", (Comparison(">=", left, low, at), Comparison("<=", left, self._sum(), at)), at)
            return Not(both, at) if negated else both
        return left

    def _list(self) -> tuple[Literal, ...]:
        closing = "]" if self._given("[") else ")"
        if closing == ")":
            self._need("(")
        found = [self._literal()]
        while self._given(","):
            found.append(self._literal())
        self._need(closing)
        return tuple(found)

    def _literal(self) -> Literal:
        sign = -1.0 if self._given("-") else 1.0
        token = self.next
        if token.kind == "number":
            self._take()
            return Literal(sign * token.value, token.at)
        if (
            sign < 0
            or token.kind not in ("text", "word")
            or (token.kind == "word" and token.text not in ("true", "false"))
        ):
            raise self.unexpected("a number or a quoted text")
        self._take()
        return Literal(token.text if token.kind == "text" else token.text == "true", token.at)

    def _sum(self) -> Node:
        return self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/"), self._factor))

    def _arithmetic(self, signs: tuple[str, ...], part: Callable[[], Node]) -> Node:
        left = part()
        while self.next.kind == "sign" and self.next.text in signs:
            token = self._take()
            self._signs += 1
            if self._signs > _MOST_ARITHMETIC:
                raise Misread("too much arithmetic", token.at, "make several rules of it")
            left = Arithmetic(token.text, left, part(), token.at)
        return left

    def _factor(self) -> Node:
        token = self.next
        if token.kind == "name":
            self._take()
            return Name(token.text, token.at)
        if self._given("-"):
            self._deeper()
            node = Arithmetic("-", Literal(0.0, token.at), self._factor(), token.at)
            self._depth -= 1
            return node
        if self._given("("):
            self._deeper()
            inside = self.condition()
            self._need(")")
            self._depth -= 1
            return inside
        if token.kind in ("number", "text") or token.text in ("true", "false"):
            return self._literal()
        raise self.unexpected("a name, a number or a quoted text")
