"""How much one GraphQL document may ask: depth, aliases, and the values it could bring at most.

The cost of a field is one, plus that of what is inside it times how many there can be (`first`, or the most there can be when a
variable says it). Fragments are counted where they are used.
"""

from __future__ import annotations

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MOST_BYTES, MOST_TOKENS, MOST_DEPTH, MOST_ALIASES, MOST_FIELDS, MOST_COST = 32_000, 600, 15, 15, 300, 60_000
MOST_NESTED = 40
"""Brackets inside brackets, looked at before parsing."""

_LISTS: dict[str, tuple[int, int]] = {
    "alerts": (20, 200), "rings": (20, 100), "neighbours": (20, 50), "members": (100, 1000), "shared": (100, 1000),
    "links": (200, 2000), "features": (400, 400), "scores": (20, 20), "reasons": (10, 10), "timingUs": (30, 30),
    "parts": (12, 12), "entities": (12, 12), "types": (40, 40), "fields": (12, 12), "args": (4, 4),
    "evidence": (12, 12), "timeline": (20, 200), "habits": (40, 40), "changes": (6, 6), "differences": (40, 40), "versions": (40, 40),
    "summary": (6, 6), "acts": (20, 100), "audit": (20, 100), "hit": (200, 200), "cases": (20, 100), "notes": (20, 20),
    "accounts": (100, 1000), "queues": (2, 2), "cuts": (20, 20), "search": (20, 50), "similar": (5, 20), "alertsByDay": (56, 360),
    "ringsByRisk": (4, 4), "scorers": (16, 16),
    "others": (8, 8), "things": (12, 12), "inForce": (200, 200), "models": (2, 2), "degraded": (4, 4),
    "inputFields": (4, 4), "enumValues": (8, 8), "possibleTypes": (2, 2), "interfaces": (2, 2), "directives": (5, 5),
}  # fmt: skip
"""Field -> how many by default, and at most. Lists under `alerts`, `neighbours` count by their own `first`."""


_WORK = {
    "explanation": 3_000, "replay": 500, "blastRadius": 3_000, "decide": 1_000, "undo": 500, "closeCase": 1_000, "erase": 2_000, "then": 500,
    "timeline": 500, "search": 500, "path": 2_000, "similar": 500, "stats": 2_000, "topEvent": 20, "joined": 50, "left": 50,
}  # fmt: skip
"""Field -> what finding it is worth, beside what it brings; of lists of names how many there can be."""


def asks_too_much(document: DocumentNode) -> list[GraphQLError]:
    """What is wrong with how much a document asks; of each operation. A walk of its own: GraphQL's visitor takes eight times as long."""
    return _Measured(document).found


class _Measured:
    def __init__(self, document: DocumentNode) -> None:
        self.found: list[GraphQLError] = []
        self._named = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        self._fragments: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()
        self._aliases = self._fields = 0
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                self._measure(definition)

    def _measure(self, node: OperationDefinitionNode) -> None:
        self._aliases = 0
        cost, depth = self._of(node.selection_set)
        for what, found, most in (
            ("depth", depth, MOST_DEPTH),
            ("aliases", self._aliases, MOST_ALIASES),
            ("number of fields", self._fields, MOST_FIELDS),
            ("cost", cost, MOST_COST),
        ):
            if found > most:
                message = f"the query's {what} is {min(found, 10**9):,}, at most {most:,} are answered"
                self.found.append(GraphQLError(message, node, extensions={"code": "too_large"}))

    def _of(self, selections: SelectionSetNode | None) -> tuple[int, int]:
        """(cost, depth) of a selection."""
        cost = depth = 0
        for node in selections.selections if selections is not None else ():
            if isinstance(node, FieldNode):
                self._fields += 1
                self._aliases += node.alias is not None
                inside, deep = self._of(node.selection_set)
                more, deep = _WORK.get(node.name.value, 1) + inside * _times(node), deep + 1
            elif isinstance(node, InlineFragmentNode):
                more, deep = self._of(node.selection_set)
            else:
                assert isinstance(node, FragmentSpreadNode)
                more, deep = self._fragment(node.name.value)
            cost, depth = cost + more, max(depth, deep)
        return cost, depth

    def _fragment(self, name: str) -> tuple[int, int]:
        """Once for each name; one inside itself is refused by another rule."""
        known = self._fragments.get(name)
        if known is not None or name in self._open:
            return known or (0, 0)
        fragment = self._named.get(name)
        self._open.add(name)
        self._fragments[name] = (0, 0) if fragment is None else self._of(fragment.selection_set)
        self._open.discard(name)
        return self._fragments[name]


def _times(node: FieldNode) -> int:
    usual, most = _LISTS.get(node.name.value, (1, 1))
    for argument in node.arguments or ():
        if argument.name.value == "first":
            value = argument.value
            return min(most, max(1, int(value.value))) if isinstance(value, IntValueNode) else most
    return usual


def nested(text: str) -> int:
    """Most brackets inside brackets."""
    depth = deepest = 0
    for c in text:
        if c in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "}])":
            depth -= 1
    return deepest
