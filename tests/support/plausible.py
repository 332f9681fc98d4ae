"""GraphQL operations that nearly make sense: each root field with identifiers there are, words that are known, and neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from hypothesis import strategies as st
from support.documents import selection

WORDS = (
    "user", "device", "card", "ip", "ring", "block", "watch", "allow", "innocent", "fraud", "false_positive", "not_sure", "open",
    "closed", "now", "digest", "HIGH", "CRITICAL", "shadow", "payment", "rules", "active",
)  # fmt: skip
TIMES = (
    "2026-05-01T12:00:00Z",
    "2027-01-01T00:00:00+02:00",
    "2031-01-01T00:00:00Z",
    "2026-05-01",
    "yesterday",
    "0001-01-01T00:00:00Z",
)
ODD = (
    "",
    " ",
    "x" * 300,
    "\u202eabc",
    "a\x00b",
    "'; DROP TABLE audit; --",
    "%",
    "🦊" * 40,
    "\ud7ff",
    "..",
    "null",
    "-1",
)
NUMBERS = (0, 1, 2, 3, 20, 100, 1000, -1, 2**31 - 1, -(2**31))


FITTING: dict[str, Sequence[Any]] = {
    **dict.fromkeys(("kind", "fromKind", "toKind"), ("user", "device", "card", "ring")),
    **dict.fromkeys(("until", "since", "asOf"), TIMES[:3]),
    "verdict": ("block", "watch", "allow", "innocent"), "outcome": ("fraud", "false_positive", "not_sure"), "level": ("LOW", "HIGH"),
    "status": ("open", "closed"), "queue": ("now", "digest"), "first": (1, 3, 20), "hops": (1, 2), "maxHops": (1, 6), "minutes": (1, 30),
    "days": (1, 14), "version": (1, 2, 3),
}  # fmt: skip
"""Argument -> what is taken there."""
EITHER = ((("ring",), ("kind", "id")), (("alertId",), ("eventId",)))
PAIRED = (("kind", "id"), ("fromKind", "fromId"), ("toKind", "toId"))


def operations(
    schema: GraphQLSchema, known: Mapping[str, Sequence[str]], entities: Mapping[str, Sequence[str]], depth: int
) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies for POST /graphql, of every query and mutation there is alike; all fields of what they give, to a depth. `known`,
    `entities`: kind -> identifiers, which arguments of that name are given more often than not."""
    every = [*(name for names in (*known.values(), *entities.values()) for name in names)]
    fields = [
        (word, name, field)
        for word, root in (("query", schema.query_type), ("mutation", schema.mutation_type)) if root is not None
        for name, field in root.fields.items()
    ]  # fmt: skip

    def value(name: str, place: GraphQLArgument | GraphQLInputField, root: str, tame: bool) -> st.SearchStrategy[Any]:
        about = next((k for k in known if root.lower().endswith(k)), "") if name == "id" else name.removesuffix("Id")
        fitting = FITTING.get(name) or known.get(about)
        wild = _of(place.type, every, lambda n, p: value(n, p, root, tame))
        if (
            fitting is None
            or get_named_type(place.type).name not in ("String", "Int")
            or is_list_type(get_nullable_type(place.type))
        ):
            return wild
        good = st.sampled_from(fitting)
        return good if tame else st.one_of(good, wild)

    pairs = [(kind, name) for kind, names in entities.items() for name in names]

    def fitted(draw: Any, values: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        """One of two that exclude each other, and identifiers of their kinds."""
        for one, other in EITHER:
            if {*one, *other} <= fields.keys():
                keep, drop = (one, other) if draw(st.booleans()) else (other, one)
                values = {n: v for n, v in values.items() if n not in drop}
                values |= {n: draw(st.sampled_from(known.get(n.removesuffix("Id")) or every)) for n in keep}
        for kind, id_ in PAIRED:
            if kind in values and id_ in values:
                values[kind], values[id_] = draw(st.sampled_from(pairs))
        return values

    @st.composite
    def body(draw: Any) -> dict[str, Any]:
        word, name, field = draw(st.sampled_from(fields))
        given = {
            n: a for n, a in field.args.items() if isinstance(a.type, GraphQLNonNull) or draw(st.integers(0, 3)) == 0
        }
        tame = draw(st.booleans())
        variables = {n: draw(value(n, a, name, tame)) for n, a in given.items()}
        variables = fitted(draw, variables, field.args) if tame else variables
        for n, a in field.args.items():
            if (
                tame
                and isinstance(get_nullable_type(a.type), GraphQLInputObjectType)
                and isinstance(variables.get(n), dict)
            ):
                variables[n] = fitted(draw, variables[n], get_nullable_type(a.type).fields)
        given = {n: a for n, a in field.args.items() if n in variables}
        declared = ", ".join(f"${n}: {a.type}" for n, a in given.items())
        passed = ", ".join(f"{n}: ${n}" for n in given)
        inside = selection(field.type, depth, 3)
        query = f"{word}{f'({declared})' if given else ''} {{ {name}{f'({passed})' if given else ''} {inside} }}"
        return {"query": query, "variables": variables}

    found: st.SearchStrategy[dict[str, Any]] = body()
    return found


def _of(kind: Any, known: Sequence[str], inside: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, GraphQLNonNull):
        return _plain(kind.of_type, known, inside)
    return st.one_of(st.none(), _plain(kind, known, inside))


def _plain(kind: Any, known: Sequence[str], inside: Any) -> st.SearchStrategy[Any]:
    """`inside`: how fields of an input are made."""
    if isinstance(kind, GraphQLList):
        return st.lists(_of(kind.of_type, known, inside), max_size=3)
    if isinstance(kind, GraphQLInputObjectType):
        needed = {n: inside(n, f) for n, f in kind.fields.items() if isinstance(f.type, GraphQLNonNull)}
        other = {n: inside(n, f) for n, f in kind.fields.items() if n not in needed}
        return st.fixed_dictionaries(needed, optional=other)
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from(sorted(kind.values))
    texts = st.one_of(st.sampled_from([*known, *known, *WORDS, *TIMES]), st.sampled_from(ODD))
    by_name: dict[str, st.SearchStrategy[Any]] = {
        "Int": st.sampled_from(NUMBERS), "Float": st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e300]), "Boolean": st.booleans(),
    }  # fmt: skip
    return by_name.get(kind.name, texts)
