"""From a rule file to a `RuleSet`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import yaml

from features.schema import FeatureSchema
from ringwatch.config_file import config_text
from ringwatch.errors import BadInput, did_you_mean
from scorers.rules.marked_yaml import entries, place_of, read_nodes
from scorers.rules.names import Names
from scorers.rules.rule import Rule, RuleSet
from scorers.rules.rule_parts import RuleReader
from scorers.rules.trouble import Troubles

MOST_RULES = 2000


def load_rules(path: Path, schema: FeatureSchema | None = None) -> RuleSet:
    """Raises BadInput with file, line and column; all troubles are in `context["troubles"]`."""
    return parse_rules(rules_text(path), str(path), schema)


def rules_text(path: Path) -> str:
    """The text of a rule file somebody named. Raises BadInput."""
    try:
        return config_text(path, "rule file", "")
    except BadInput as error:
        hint = "`ringwatch rules starter shop > my-rules.yaml` makes one"
        raise BadInput(error.message, hint=hint if not path.exists() else "a text file in UTF-8 is needed") from None


def parse_rules(text: str, path: str = "rules.yaml", schema: FeatureSchema | None = None) -> RuleSet:
    """Never anything but a set or BadInput, whatever the text."""
    troubles = Troubles(path)
    top = read_nodes(text, path)
    reader = RuleReader(Names(schema or FeatureSchema()), troubles, text)
    rules: list[Rule] = []
    name = ""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for key, key_node, node in entries(top, troubles):
        found.add(key)
        if key == "name":
            name = reader.text(node, key)
        elif key == "rules":
            for rule in _rules(node, reader, troubles):
                if rule.id in seen:
                    troubles.add(rule.place, f"the id {rule.id!r} is taken", f"by the rule in line {seen[rule.id]}")
                seen.setdefault(rule.id, rule.place.line)
                rules.append(rule)
        else:
            troubles.add(place_of(key_node), f"there is no {key!r} here", did_you_mean(key, ("name", "rules")))
    if "rules" not in found:
        troubles.add(place_of(top), "there are no `rules:`", "see docs/rules.md, or `ringwatch rules starter shop`")
    troubles.raise_if_any()
    return RuleSet(tuple(sorted(rules, key=lambda r: r.id)), name)


def _rules(node: yaml.Node, reader: RuleReader, troubles: Troubles) -> list[Rule]:
    if not isinstance(node, yaml.SequenceNode):
        troubles.add(place_of(node), "rules are a list", "each begins with `- id:`; `rules: []` is a file without any")
        return []
    if len(node.value) > MOST_RULES:
        troubles.add(place_of(node), f"{len(node.value):,} rules are too many", f"at most {MOST_RULES:,}")
        return []
    return [rule for one in node.value if (rule := reader.rule(one)) is not None]


def troubles_of(check: Callable[[], object]) -> Collection[str]:
    """The lines of what `check` raises; empty when it raises nothing."""
    try:
        check()
    except BadInput as error:
        lines: Collection[str] = error.context.get("troubles") or [str(error)]
        return lines
    return []
