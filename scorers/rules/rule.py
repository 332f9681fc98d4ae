"""Rules and sets of them, as values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from ringwatch.model import Action, Event
from scorers.rules.expression import Node
from scorers.rules.names import Column
from scorers.rules.reason import Reason
from scorers.rules.trouble import Place

MODES = ("off", "shadow", "advise", "act")
ACTIONS = ("review", "challenge", "block")
DEFAULT_SCORES = {None: 0.5, "review": 0.5, "challenge": 0.7, "block": 0.9}
"""Of a rule without a score, by its action."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """An event with features, and whether the rule fires on it."""

    event: Event
    features: Mapping[str, float]
    expect: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    description: str
    owner: str
    mode: str
    """"off": not run; "shadow": run and recorded, no part in the score; "advise": part of the score; "act": part of the
    score, and its action is the least that is done."""
    when: tuple[str, ...]
    """Event types it looks at; empty: all."""
    condition: str
    """As parsed, spacing aside."""
    tree: Node
    columns: tuple[Column, ...]
    """What its condition and its reason read."""
    score: float
    """What it adds, in [0, 1]."""
    action: str | None
    reason: Reason
    reason_text: str
    about: str | None
    """The kind of entity its findings are about."""
    expires_us: int | None
    """Event time from which on it is silent."""
    fixtures: tuple[Fixture, ...]
    place: Place

    @property
    def contributes(self) -> bool:
        return self.mode in ("advise", "act")

    @property
    def least_action(self) -> Action:
        """What the policy may not go below when it fires."""
        return Action[self.action.upper()] if self.mode == "act" and self.action else Action.ALLOW

    def content(self) -> dict[str, Any]:
        """Everything that says what it does, in a fixed form: what the version of a set is the hash of."""
        return {
            "id": self.id,
            "description": self.description,
            "owner": self.owner,
            "mode": self.mode,
            "when": list(self.when),
            "if": self.condition,
            "score": self.score,
            "action": self.action,
            "reason": self.reason_text,
            "about": self.about,
            "expires_us": self.expires_us,
            "fixtures": [
                {"event": msgspec.to_builtins(f.event), "features": dict(f.features), "expect": f.expect}
                for f in self.fixtures
            ],
        }


@dataclass(frozen=True)
class RuleSet:
    """Rules in the order of their ids."""

    rules: tuple[Rule, ...] = ()
    name: str = ""

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of a SHA-256 over what the rules say: comments, order and spacing do not count. "none"
        without rules."""
        if not self.rules:
            return "none"
        content = msgspec.json.encode([r.content() for r in self.rules], order="deterministic")
        return hashlib.sha256(content).hexdigest()[:12]

    def modes(self) -> dict[str, int]:
        """How many rules are in each mode."""
        return {mode: sum(r.mode == mode for r in self.rules) for mode in MODES}


EMPTY = RuleSet()
