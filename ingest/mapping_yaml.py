"""A mapping's YAML with the line of every key, so that a message can name the line to mend.

Scalars are read as in YAML 1.2: `yes` and `off` are texts, `0123` and `12:30` are texts, `true` is a truth value. Repeated
keys, anchors, tags and documents too large for a mapping are refused.
"""

from __future__ import annotations

from typing import Any

import yaml

from ringwatch.errors import BadInput
from ringwatch.strict_yaml import StrictLoader

Path = tuple[str, ...]
LARGEST = 1_000_000
"""Characters of a mapping."""


def read_yaml(text: str, path: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The content and the line of each key by its path. Raises BadInput naming file and line."""
    if len(text) > LARGEST:
        raise BadInput(f"{path}:1: {len(text):,} characters are too many for a mapping", hint="is this the data file?")
    try:
        loader = StrictLoader(text)
        node = loader.get_single_node()
        lines = _lines(node, path)
        content = loader.construct_document(node) if node is not None else None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"{path}:{line}: a control character, U+{ord(text[error.position]):04X}"
        raise BadInput(message, hint="take it out; is this a mapping?", line=line) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line = mark.line + 1 if mark is not None else 1
        raise BadInput(f"{path}:{line}: not YAML: {problem}", hint="mend that line", line=line) from None
    except (RecursionError, ValueError) as error:
        raise BadInput(f"{path}:1: not a mapping: {error}", hint="see docs/mapping.md", line=1) from None
    if not isinstance(content, dict):
        what = {type(None): "nothing", list: "a list"}.get(type(content), "a text or number")
        raise BadInput(f"{path}:1: keys and values are needed, not {what}", hint="see docs/mapping.md", line=1)
    return content, lines


def _lines(node: yaml.Node | None, path: str, at: Path = ()) -> dict[Path, int]:
    found: dict[Path, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadInput(f"{path}:{line}: a key is a list or an object", hint="keys are names", line=line)
            here = (*at, key.value)
            if here in found:
                raise BadInput(
                    f"{path}:{line}: {key.value!r} is given twice", hint=f"first in line {found[here]}", line=line
                )
            found[here] = line
            found.update(_lines(value, path, here))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            found[(*at, str(i))] = value.start_mark.line + 1
            found.update(_lines(value, path, (*at, str(i))))
    return found
