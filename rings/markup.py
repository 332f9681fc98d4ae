"""HTML and SVG by construction: text becomes a child or an attribute, and is escaped there; nothing else makes markup.

In children, what cannot be seen or turns the writing direction becomes a mark that is seen.
"""

from __future__ import annotations

from html import escape

from rings.words import visible

Value = str | int | float | bool | None


class Markup(str):
    """Text that is markup already. Only `tag`, `join` and our own files make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: Value) -> Markup:
    """An element. `class_` is class, `data_node` is data-node, None and False leave an attribute out, True has no value."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if not children and name in _EMPTY:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Children one after another; what is not markup is escaped."""
    return Markup("".join(child if isinstance(child, Markup) else escape(visible(child)) for child in children))


_EMPTY = frozenset({"meta", "br", "hr", "link", "input"})


def _attribute(key: str, value: Value) -> str:
    name = _NAMES.get(key) or key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    if isinstance(value, float):
        value = f"{value:.1f}".removesuffix(".0")
    return f' {name}="{escape(str(value))}"'


_NAMES = {"viewBox": "viewBox"}
