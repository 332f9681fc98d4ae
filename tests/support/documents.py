"""GraphQL documents that ask for everything."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphql import get_named_type, is_composite_type, is_leaf_type, is_union_type


def selection(kind: Any, depth: int, first: int = 2, leave: Collection[str] = ()) -> str:
    """All fields of a type to a depth but those to leave out; of lists inside at most `first`."""
    named = get_named_type(kind)
    if is_leaf_type(named):
        return ""
    if is_union_type(named):
        return "{ __typename ... on Refused { code message } }"
    chosen = ["__typename"]
    for name, field in named.fields.items():
        if name in leave or (is_composite_type(get_named_type(field.type)) and depth == 1):
            continue
        bound = f"(first: {first})" if "first" in field.args else ""
        chosen.append(f"{name}{bound} {selection(field.type, depth - 1, first, leave)}")
    return f"{{ {' '.join(chosen)} }}"
