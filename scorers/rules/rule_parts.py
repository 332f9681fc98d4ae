"""One rule from its YAML node: every field checked, every trouble with its place."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import yaml

from ringwatch.errors import did_you_mean
from ringwatch.model import MICROSECONDS, type_names
from scorers.rules.checking import check
from scorers.rules.expression import Node, parse
from scorers.rules.fixture_parts import read_fixture
from scorers.rules.marked_yaml import entries, place_of, place_within, scalar
from scorers.rules.names import Column, Names
from scorers.rules.reason import Reason, parse_reason
from scorers.rules.rule import ACTIONS, DEFAULT_SCORES, MODES, Fixture, Rule
from scorers.rules.tokens import Misread
from scorers.rules.trouble import Place, Troubles, shown

_FIELDS = ("id", "description", "owner", "mode", "when", "if", "score", "action", "reason", "about", "expires",
           "fixtures")  # fmt: skip
_NEEDED = ("id", "owner", "mode", "if", "reason")
_ID = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LONGEST = 2000


class RuleReader:
    def __init__(self, names: Names, troubles: Troubles, source: str) -> None:
        self.names = names
        self._troubles = troubles
        self._source = source

    def rule(self, node: yaml.Node) -> Rule | None:
        """None when something is wrong, which is then among the troubles."""
        if not isinstance(node, yaml.MappingNode):
            self._troubles.add(place_of(node), "a rule has keys and values", "id, owner, mode, if, reason, ...")
            return None
        before = len(self._troubles.found)
        nodes = self._nodes(node)
        for name in _NEEDED:
            if name not in nodes:
                self._troubles.add(place_of(node), f"the rule has no {name!r}", "it is needed; see docs/rules.md")
        expires_us = self._expires(nodes.get("expires"))
        when = self._when(nodes.get("when"))
        tree, columns, canonical = self._condition(nodes.get("if"))
        reason, reason_text = self._reason(nodes.get("reason"), columns)
        action = self._choice(nodes.get("action"), "action", ACTIONS) if "action" in nodes else None
        mode = self._choice(nodes.get("mode"), "mode", MODES)
        if action is not None and mode == "advise":
            hint = "an advising rule adds its score; mode act (or off, shadow on the way there) takes an action"
            self._troubles.add(place_of(nodes["action"]), "a rule in mode advise has no action", hint)
        fixtures = self._fixtures(nodes.get("fixtures"), when, expires_us)
        about = self._choice(nodes["about"], "about", self.names.kinds) if "about" in nodes else None
        id_, description = self._id(nodes.get("id")), self.text(nodes.get("description"), "description", needed=False)
        owner, score = self.text(nodes.get("owner"), "owner"), self._score(nodes.get("score"), action)
        if len(self._troubles.found) > before or tree is None or reason is None or mode is None:
            return None
        return Rule(
            id_, description, owner, mode, when, canonical, tree, tuple(dict.fromkeys((*columns, *reason.columns))),
            score, action, reason, reason_text, about, expires_us, fixtures, place_of(node),
        )  # fmt: skip

    def _nodes(self, node: yaml.MappingNode) -> dict[str, yaml.Node]:
        found = {}
        for key, key_node, value in entries(node, self._troubles):
            if key in _FIELDS:
                found[key] = value
            else:
                self._troubles.add(place_of(key_node), f"a rule has no {shown(key)}", did_you_mean(key, _FIELDS))
        return found

    def _value(self, node: yaml.Node, what: str) -> Any:
        try:
            return scalar(node)
        except TypeError:
            self._troubles.add(place_of(node), f"{what} is a list or has keys", "one value is needed")
            return None

    def text(self, node: yaml.Node | None, what: str, *, needed: bool = True) -> str:
        if node is None:
            return ""
        before = len(self._troubles.found)
        value = self._value(node, what)
        text = "" if value is None else str(node.value).strip()
        if len(self._troubles.found) == before and ((needed and not text) or len(text) > _LONGEST):
            problem = "is empty" if not text else f"has {len(text):,} characters"
            self._troubles.add(place_of(node), f"{what} {problem}", f"a text of 1 to {_LONGEST} characters is needed")
        return text

    def _id(self, node: yaml.Node | None) -> str:
        value = self.text(node, "id")
        if node is not None and value and not _ID.fullmatch(value):
            self._troubles.add(place_of(node), f"the id is {shown(value)}", "small letters, digits and _, at most 64")
        return value

    def _choice(self, node: yaml.Node | None, what: str, known: Collection[str]) -> str | None:
        if node is None:
            return None
        value = self.text(node, what)
        if value in known:
            return value
        if value:
            self._troubles.add(place_of(node), f"{what} is {shown(value)}", did_you_mean(value, known))
        return None

    def _when(self, node: yaml.Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not nodes:
            self._troubles.add(place_of(node), "when is empty", "leave it out to look at every event")
        found = [self._choice(one, "when", type_names) for one in nodes]
        return tuple(sorted({name for name in found if name is not None}))

    def _score(self, node: yaml.Node | None, action: str | None) -> float:
        if node is None:
            return DEFAULT_SCORES[action]
        value = self._value(node, "score")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 1.0:
            self._troubles.add(place_of(node), f"score is {shown(value)}", "a number above 0, at most 1, is needed")
            return 0.0
        return float(value)

    def _condition(self, node: yaml.Node | None) -> tuple[Node | None, tuple[Column, ...], str]:
        if node is None:
            return None, (), ""
        if not isinstance(node, yaml.ScalarNode):
            self._troubles.add(place_of(node), "if is a list or has keys", "write one condition, in quotes if need be")
            return None, (), ""
        try:
            parsed = parse(node.value)
            unknown = [n for n in parsed.names if self.names.type_of(n.name) is None]
            for name in unknown[1:]:
                self._misread(node, Misread(f"there is no {name.name!r}", name.at, self.names.hint(name.name)))
            tree, columns = check(parsed.tree, self.names)
        except Misread as error:
            self._misread(node, error)
            return None, (), ""
        return tree, columns, parsed.canonical

    def _reason(self, node: yaml.Node | None, columns: tuple[Column, ...]) -> tuple[Reason | None, str]:
        text = self.text(node, "reason")
        if node is None or not text:
            return None, ""
        try:
            return parse_reason(str(node.value), self.names, {c.name: c for c in columns}), str(node.value)
        except Misread as error:
            self._misread(node, error)
            return None, ""

    def _misread(self, node: yaml.Node, error: Misread) -> None:
        assert isinstance(node, yaml.ScalarNode)
        place = place_within(node, min(error.at, len(node.value) - 1), self._source) if node.value else place_of(node)
        self._troubles.add(place, error.text, error.hint)

    def _expires(self, node: yaml.Node | None) -> int | None:
        if node is None:
            return None
        text = self.text(node, "expires")
        return self.time_us(text, place_of(node), "expires") if text else None

    def time_us(self, text: str, place: Place, what: str) -> int | None:
        try:
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
            return int(at.timestamp()) * MICROSECONDS
        except (ValueError, OverflowError):
            self._troubles.add(place, f"{what} is {shown(text)}", "a date such as 2027-01-31 is needed")
            return None

    def _fixtures(self, node: yaml.Node | None, when: tuple[str, ...], expires_us: int | None) -> tuple[Fixture, ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._troubles.add(place_of(node), "fixtures are a list", "each has event, features, expect")
            return ()
        found = [read_fixture(one, self, self._troubles, (when, expires_us)) for one in node.value]
        return tuple(f for f in found if f is not None)
