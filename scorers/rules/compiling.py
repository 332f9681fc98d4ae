"""Checked conditions to functions of columns. One definition serves one event's values and whole columns, so that a
batch of one and a batch of a thousand give the same bits; only `and` and `or` stop early for one event.

A number is missing as NaN, a text as None, and every comparison with them is false: `!=` is "less or more".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import nan
from typing import Any

import numpy as np

from scorers.rules.expression import Arithmetic, Comparison, Joined, Literal, Member, Missing, Name, Node
from scorers.rules.names import Column

Values = Sequence[Any]
"""By slot: a float or a text (one event), or an array of them (a batch)."""
Function = Callable[[Values], Any]
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq,
}  # fmt: skip
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


def compile_condition(tree: Node, slots: Mapping[Column, int], *, single: bool) -> Function:
    """`slots`: where each column stands in the values; `single`: for one event's values, else for arrays."""
    return _Compiler(slots, single).condition(tree)


class _Compiler:
    def __init__(self, slots: Mapping[Column, int], single: bool) -> None:
        self._slots, self._single = slots, single

    def _slot(self, name: Name) -> int:
        assert name.type is not None
        return self._slots[Column(name.name, name.type)]

    def condition(self, node: Node) -> Function:
        match node:
            case Joined(word, parts, _):
                conditions = [self.condition(p) for p in parts]
                return (_joined_one if self._single else _joined)(word, conditions)
            case Comparison(sign, left, right, _):
                return self._comparison(sign, left, right)
            case Member(value, literals, negated, _):
                return _member(self.value(value), frozenset(x.value for x in literals), negated)
            case Missing(Name() as name, negated, _):
                return _missing(self._slot(name), name.type == "text", negated)
        raise AssertionError(node)

    def value(self, node: Node) -> Function:
        match node:
            case Literal(constant, _):
                fixed = float(constant) if isinstance(constant, bool) else constant
                return lambda _: fixed
            case Name():
                return operator.itemgetter(self._slot(node))
            case Arithmetic(sign, left, right, _):
                return _arithmetic(sign, self.value(left), self.value(right))
        raise AssertionError(node)

    def _comparison(self, sign: str, left: Node, right: Node) -> Function:
        if isinstance(left, Literal):
            left, right, sign = right, left, _MIRRORED[sign]
        is_text = isinstance(left, Name) and left.type == "text"
        if isinstance(left, Name) and isinstance(right, Literal):
            constant = float(right.value) if isinstance(right.value, bool) else right.value
            return _with_constant(sign, self._slot(left), constant)
        a, b = self.value(left), self.value(right)
        if is_text:
            return _texts(sign, a, b)
        if sign == "!=":
            return lambda v: (a(v) < b(v)) | (a(v) > b(v))
        compare = _ORDER[sign]
        return lambda v: compare(a(v), b(v))


def _joined(word: str, parts: Sequence[Function]) -> Function:
    join = operator.and_ if word == "and" else operator.or_
    return lambda v: reduce(join, [p(v) for p in parts])


def _joined_one(word: str, parts: Sequence[Function]) -> Function:
    first, rest = parts[0], tuple(parts[1:])
    second = _joined_one(word, rest) if len(rest) > 1 else rest[0]
    if word == "and":
        return lambda v: first(v) and second(v)
    return lambda v: first(v) or second(v)


def _with_constant(sign: str, slot: int, constant: Any) -> Function:
    match sign, constant:
        case "!=", str():
            return lambda v: _is_not(v[slot], constant) & _is_not(v[slot], None)
        case "!=", _:
            return lambda v: (v[slot] < constant) | (v[slot] > constant)
        case "=", _:
            return lambda v: v[slot] == constant
        case "<", _:
            return lambda v: v[slot] < constant
        case "<=", _:
            return lambda v: v[slot] <= constant
        case ">", _:
            return lambda v: v[slot] > constant
    return lambda v: v[slot] >= constant


def _is_not(x: Any, y: Any) -> Any:
    return x != y


def _texts(sign: str, a: Function, b: Function) -> Function:
    if sign == "=":
        return lambda v: (a(v) == b(v)) & _is_not(a(v), None)
    return lambda v: (a(v) != b(v)) & _is_not(a(v), None) & _is_not(b(v), None)


def _missing(slot: int, is_text: bool, negated: bool) -> Function:
    if is_text:
        return (lambda v: _is_not(v[slot], None)) if negated else (lambda v: operator.eq(v[slot], None))
    return (lambda v: v[slot] == v[slot]) if negated else (lambda v: v[slot] != v[slot])


def _member(value: Function, among: frozenset[Any], negated: bool) -> Function:
    """NaN and None are in no list, and with `not in` they are no hit either."""
    has = among.__contains__

    def member(v: Values) -> Any:
        x = value(v)
        if not isinstance(x, np.ndarray):
            return x not in among and x is not None and x == x if negated else x in among
        hit = np.fromiter(map(has, x.tolist()), np.bool_, len(x))
        if not negated:
            return hit
        return ~hit & (_is_not(x, None) if x.dtype == object else x == x)

    return member


def _arithmetic(sign: str, a: Function, b: Function) -> Function:
    match sign:
        case "+":
            return lambda v: a(v) + b(v)
        case "-":
            return lambda v: a(v) - b(v)
        case "*":
            return lambda v: a(v) * b(v)
    return lambda v: _divided(a(v), b(v))


def _divided(x: Any, y: Any) -> Any:
    """Over zero: missing."""
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return np.where(y == 0.0, nan, x / y)
    return nan if y == 0.0 else x / y
