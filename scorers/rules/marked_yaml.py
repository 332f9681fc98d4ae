"""YAML as nodes that know where they stand, so that a message can name line and column.

Scalars are read as in YAML 1.2: `off` and `yes` are texts. Repeated keys, anchors, tags, deep nesting and files too
large for rules are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from ringwatch.errors import BadInput
from ringwatch.strict_yaml import StrictLoader
from scorers.rules.trouble import Place, Troubles, masked

LARGEST = 2_000_000
"""Characters of a rule file."""
Scalar = str | int | float | bool | None


def place_of(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def read_nodes(text: str, path: str) -> yaml.MappingNode:
    """The top of the file, a mapping. Raises BadInput with file, line and column."""
    troubles = Troubles(path)
    node = None
    if len(text) > LARGEST:
        troubles.add(Place(), f"{len(text):,} characters are too many for rules", "is this the data file?")
        troubles.raise_if_any()
    try:
        node = StrictLoader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Place(before.count("\n") + 1, error.position - before.rfind("\n"))
        troubles.add(place, f"a control character, U+{ord(text[error.position]):04X}", "take it out")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place() if mark is None else Place(mark.line + 1, mark.column + 1)
        problem = getattr(error, "problem", None) or "it cannot be read"
        troubles.add(place, f"not YAML: {masked(problem)}", "mend that line; a text with : or # needs quotes")
    except (RecursionError, ValueError) as error:
        troubles.add(Place(), f"not YAML: {type(error).__name__}", "see docs/rules.md")
    troubles.raise_if_any()
    if not isinstance(node, yaml.MappingNode):
        troubles.add(
            Place(), "a rule file begins with `rules:`", "see docs/rules.md, or `ringwatch rules starter shop`"
        )
        troubles.raise_if_any()
        raise BadInput(path)
    return node


def entries(node: yaml.MappingNode, troubles: Troubles) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """(key, key node, value node); a repeated key or one that is no name is told and left out."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            troubles.add(place_of(key), "a key is a list or an object", "keys are names")
        elif key.value in seen:
            troubles.add(place_of(key), f"{key.value!r} is given twice", f"first in line {seen[key.value]}")
        else:
            seen[key.value] = key.start_mark.line + 1
            yield key.value, key, value


def scalar(node: yaml.Node) -> Scalar:
    """The value of a scalar node; a mapping or a list raises TypeError."""
    if not isinstance(node, yaml.ScalarNode):
        raise TypeError(node.tag)
    text = str(node.value)
    match node.tag.rsplit(":", 1)[-1]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
    return text


def place_within(node: yaml.ScalarNode, offset: int, source: str) -> Place:
    """Where the character `offset` of a scalar's value stands in the file, through folding and indentation."""
    start, end = node.start_mark.index, node.end_mark.index
    at = start
    if node.style in ("|", ">"):
        at = source.find("\n", start, end) + 1
    elif node.style in ("'", '"'):
        at = start + 1
    found = at
    for c in node.value[: offset + 1]:
        if c.isspace():
            continue
        while at < end and source[at].isspace():
            at += 1
        if at >= end or source[at] != c:
            return place_of(node)
        found = at
        at += 1
    return Place(source.count("\n", 0, found) + 1, found - source.rfind("\n", 0, found))
