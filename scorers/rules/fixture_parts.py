"""A rule's fixture from its YAML node: an event in short, the features it reads, and what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from ringwatch.errors import did_you_mean
from ringwatch.model import DAY_US, Event, type_names
from scorers.rules.marked_yaml import entries, place_of, scalar
from scorers.rules.names import CLOSED, NUMBER_FIELDS, TEXT_FIELDS
from scorers.rules.rule import Fixture
from scorers.rules.trouble import Troubles, shown

if TYPE_CHECKING:
    from scorers.rules.rule_parts import RuleReader

_AT_US = 1_767_225_600_000_000
"""2026-01-01, when fixtures happen that do not say when."""
_INTEGERS = ("amount_minor", "quantity", "unit_price_minor", "stock_after")


def read_fixture(
    node: yaml.Node, reader: RuleReader, troubles: Troubles, defaults: tuple[tuple[str, ...], int | None]
) -> Fixture | None:
    """None when something is wrong. `defaults`: the rule's event types and expiry, for what the fixture leaves out."""
    if not isinstance(node, yaml.MappingNode):
        troubles.add(place_of(node), "a fixture has keys and values", "event, features, expect")
        return None
    before = len(troubles.found)
    event: dict[str, Any] = {}
    features: dict[str, float] = {}
    expect = None
    for key, key_node, value in entries(node, troubles):
        if key == "event":
            event = _event(value, reader, troubles)
        elif key == "features":
            features = _features(value, reader, troubles)
        elif key == "expect":
            expect = _plain(value)
            if not isinstance(expect, bool):
                troubles.add(place_of(value), f"expect is {shown(expect)}", "true (it fires) or false is needed")
        else:
            hint = did_you_mean(key, ("event", "features", "expect"))
            troubles.add(place_of(key_node), f"a fixture has no {shown(key)}", hint)
    if expect is None and len(troubles.found) == before:
        troubles.add(place_of(node), "the fixture has no 'expect'", "true (it fires) or false is needed")
    if len(troubles.found) > before:
        return None
    when, expires_us = defaults
    at_us = _AT_US if expires_us is None else min(_AT_US, expires_us - DAY_US)
    usual: dict[str, Any] = {"event_id": "fixture", "type": when[0] if when else "payment", "at_us": at_us}
    made = Event(**(usual | event))
    return Fixture(made, features, bool(expect), place_of(node))


def _plain(node: yaml.Node) -> Any:
    try:
        return scalar(node)
    except TypeError:
        return node.value


def _event(node: yaml.Node, reader: RuleReader, troubles: Troubles) -> dict[str, Any]:
    found: dict[str, Any] = {"entities": {}, "attributes": {}}
    if not isinstance(node, yaml.MappingNode):
        troubles.add(place_of(node), "event has keys and values", "for example {type: payment, device: d1}")
        return found
    for key, key_node, value_node in entries(node, troubles):
        if key == "attributes":
            found["attributes"] = _attributes(value_node, troubles)
            continue
        value, place = _plain(value_node), place_of(value_node)
        if isinstance(value, list) or value is None:
            troubles.add(place, f"{key} is {'empty' if value is None else 'a list or has keys'}", "one value is needed")
        elif key == "at":
            found["at_us"] = reader.time_us(str(value_node.value), place, "at")
        elif key == "type" and value not in type_names:
            troubles.add(place, f"type is {shown(value)}", did_you_mean(str(value), type_names))
        elif key in CLOSED and value not in CLOSED[key]:
            troubles.add(place, f"{key} is {shown(value)}", did_you_mean(str(value), CLOSED[key]))
        elif key in NUMBER_FIELDS:
            wanted: Any = int if key in _INTEGERS else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                kind = "a whole number" if key in _INTEGERS else "a number"
                troubles.add(place, f"{key} is {shown(value)}", f"{kind} is needed")
            found[key] = value
        elif key in TEXT_FIELDS:
            found[key] = str(value_node.value)
        elif key in reader.names.kinds:
            found["entities"][key] = str(value_node.value)
        else:
            known = ("attributes", "at", *NUMBER_FIELDS, *TEXT_FIELDS, *reader.names.kinds)
            hint = did_you_mean(key, known, "fields are in docs/rules.md, others stand under attributes:")
            troubles.add(place_of(key_node), f"an event has no {shown(key)}", hint)
    return found


def _attributes(node: yaml.Node, troubles: Troubles) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        troubles.add(place_of(node), "attributes have keys and values", "for example {basket_kind: gift_card}")
        return {}
    found = {}
    for key, _, value_node in entries(node, troubles):
        value = _plain(value_node)
        if isinstance(value, list) or value is None:
            troubles.add(place_of(value_node), f"{shown(key)} is not one value", "a text, a number, true or false")
        else:
            found[key] = value
    return found


def _features(node: yaml.Node, reader: RuleReader, troubles: Troubles) -> dict[str, float]:
    if not isinstance(node, yaml.MappingNode):
        troubles.add(place_of(node), "features have keys and values", "for example {device.neighbours_24h: 6}")
        return {}
    found = {}
    for key, key_node, value_node in entries(node, troubles):
        value = _plain(value_node)
        if key not in reader.names.units:
            troubles.add(place_of(key_node), f"there is no feature {shown(key)}", reader.names.hint(key))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            troubles.add(
                place_of(value_node), f"{key} is {shown(value)}", "a number is needed; missing ones are left out"
            )
        else:
            found[key] = float(value)
    return found
