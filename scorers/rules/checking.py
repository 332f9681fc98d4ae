"""Types of conditions. What comes out has no `not` left: it is moved into the comparisons.

`not (a > 3)` becomes `a <= 3`, so a comparison with something missing is never true, however it is turned: what is
missing never fires a rule.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import numpy as np

from ringwatch.errors import did_you_mean
from scorers.rules.expression import Arithmetic, Comparison, Joined, Literal, Member, Missing, Name, Node, Not
from scorers.rules.names import CLOSED, Column, Names, Type
from scorers.rules.tokens import Misread

_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def check(tree: Node, names: Names) -> tuple[Node, tuple[Column, ...]]:
    """The tree with typed names and without `not`, and the columns it reads. Raises Misread."""
    checker = _Checker(names)
    checked = checker.condition(tree, negated=False)
    return checked, tuple(dict.fromkeys(checker.columns))


class _Checker:
    def __init__(self, names: Names) -> None:
        self._names = names
        self.columns: list[Column] = []

    def condition(self, node: Node, *, negated: bool) -> Node:
        match node:
            case Not(part):
                return self.condition(part, negated=not negated)
            case Joined(word, parts, at):
                word = {"and": "or", "or": "and"}[word] if negated else word
                return Joined(word, tuple(self.condition(p, negated=negated) for p in parts), at)
            case Comparison():
                return self._comparison(replace(node, sign=_OPPOSITE[node.sign]) if negated else node)
            case Member():
                return self._member(replace(node, negated=not node.negated) if negated else node)
            case Missing(value, is_not, at):
                if not isinstance(value, Name):
                    raise Misread("only a name can be missing", at, "for example: user.gap_s is missing")
                return Missing(self._read(value, self._type(value)), is_not != negated, at)
            case Name(name, at):
                example = f"{name} = true" if self._type(node) == "any" else f"{name} = 1"
                raise Misread(f"{name} alone is no condition", at, f"compare it, for example: {example}")
            case Arithmetic(_, _, _, at) | Literal(_, at):
                raise Misread("a value stands where a condition is needed", at, "compare it with something")

    def _type(self, name: Name) -> Type:
        kind = self._names.type_of(name.name)
        if kind is None:
            raise Misread(f"there is no {name.name!r}", name.at, self._names.hint(name.name))
        return kind

    def _read(self, name: Name, kind: Type) -> Name:
        self.columns.append(Column(name.name, kind))
        return replace(name, type=kind)

    def _kind(self, node: Node) -> Type:
        """The type of a value, "any" for an attribute."""
        match node:
            case Literal(value, _):
                return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
            case Name():
                return self._type(node)
            case Arithmetic():
                return "number"
        raise Misread("a condition stands where a value is needed", node.at, "join conditions with and, or")

    def _value(self, node: Node, wanted: Type) -> Node:
        """The node read as `wanted`, arithmetic of constants done."""
        kind = self._kind(node)
        if kind not in (wanted, "any"):
            what = node.name if isinstance(node, Name) else "this"
            raise Misread(f"{what} is a {kind}, a {wanted} is needed", node.at, _type_hint(kind, wanted))
        if isinstance(node, Name):
            return self._read(node, wanted)
        if isinstance(node, Arithmetic):
            left, right = self._value(node.left, "number"), self._value(node.right, "number")
            return _folded(Arithmetic(node.sign, left, right, node.at))
        return node

    def _comparison(self, c: Comparison) -> Comparison:
        kinds = self._kind(c.left), self._kind(c.right)
        known = [k for k in kinds if k != "any"]
        if not known:
            hint = "write one of them + 0 to read both as numbers"
            raise Misread("two attributes are compared: as what is not known", c.at, hint)
        wanted = known[0]
        if wanted != "number" and c.sign not in ("=", "!="):
            raise Misread(f"{c.sign!r} compares numbers, not a {wanted}", c.at, "texts compare with = and != and in")
        left, right = self._value(c.left, wanted), self._value(c.right, wanted)
        if isinstance(left, Literal) and isinstance(right, Literal):
            raise Misread("two constants are compared: it is always the same", c.at, "name a feature or a field")
        for name, literal in ((left, right), (right, left)):
            if isinstance(name, Name) and isinstance(literal, Literal):
                self._possible(name, literal)
        return Comparison(c.sign, _as_stored(left, right), _as_stored(right, left), c.at)

    def _member(self, m: Member) -> Member:
        kinds = {self._kind(literal) for literal in m.literals}
        if len(kinds) > 1:
            raise Misread("the list mixes " + " and ".join(sorted(kinds)) + "s", m.literals[0].at, "one type a list")
        value = self._value(m.value, kinds.pop())
        if isinstance(value, Literal):
            raise Misread(
                "a constant is looked for in a list: it is always the same", m.at, "name a feature or a field"
            )
        if isinstance(value, Name):
            for literal in m.literals:
                self._possible(value, literal)
        stored = tuple(_as_stored(literal, value) for literal in m.literals)
        return Member(value, tuple(x for x in stored if isinstance(x, Literal)), m.negated, m.at)

    def _possible(self, name: Name, literal: Literal) -> None:
        """Raises Misread for a text that the field can never have."""
        closed = CLOSED.get(name.name)
        if closed is not None and literal.value not in closed:
            message = f"{name.name} is never {literal.value!r}"
            raise Misread(message, literal.at, did_you_mean(str(literal.value), closed))
        if name.name in ("country", "currency") and str(literal.value) != str(literal.value).upper():
            raise Misread(f"{name.name} is never {literal.value!r}", literal.at, "it is in upper case")


def _type_hint(kind: Type, wanted: Type) -> str:
    if wanted == "text":
        return "texts stand between quotes"
    return "numbers stand without quotes" if kind == "text" else "compare with true or false"


def _as_stored(node: Node, beside: Node) -> Node:
    """A constant beside a feature, as near as a feature comes to it: they are float32, and 0.7 is not 0.7 there."""
    is_feature = isinstance(beside, Name) and Column(beside.name, "number").is_feature
    if not (is_feature and isinstance(node, Literal) and isinstance(node.value, float)):
        return node
    with np.errstate(over="ignore"):
        return Literal(float(np.float32(node.value)), node.at)


def _folded(a: Arithmetic) -> Node:
    if not (isinstance(a.left, Literal) and isinstance(a.right, Literal)):
        if a.sign == "/" and isinstance(a.right, Literal) and a.right.value == 0.0:
            raise Misread("a division by zero", a.at, "it is always missing")
        return a
    x, y = float(a.left.value), float(a.right.value)
    if a.sign == "/" and y == 0.0:
        raise Misread("a division by zero", a.at)
    value = x + y if a.sign == "+" else x - y if a.sign == "-" else x * y if a.sign == "*" else x / y
    if not isfinite(value):
        raise Misread("a number that is too large", a.at)
    return Literal(value, a.at)
