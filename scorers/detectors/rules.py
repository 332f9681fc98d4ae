"""The scorer of the rules that people write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput
from ringwatch.model import Reason
from scorers.policy import Policies
from scorers.rules.book import Active, RuleBook
from scorers.rules.effect import Found, bound, joined
from scorers.rules.evaluation import Fired
from scorers.rules.rule import Rule
from scorers.scorer import Batch, Finding

_CONTRIBUTING = ("advise", "act")


class Rules:
    """The rules that fraud analysts write in YAML: conditions over features and event fields. Rules in mode advise and
    act add their score (joined by noisy-or), a rule in mode act has its action taken; rules in mode shadow are recorded
    and add nothing. Abstains on events that no contributing rule looks at."""

    name = "rules"

    def __init__(self) -> None:
        self.book = RuleBook()
        self.version = self.book.version
        """Of the set in force, so that it is recorded with every assessment; `refresh` changes it."""
        self.fired_by_rule: dict[str, int] = {}
        """Events each rule fired on in this process, shadow rules too, by id."""
        self._last: tuple[Batch, Active, Fired] | None = None

    def use(self, book: RuleBook) -> None:
        self.book, self.version = book, book.version

    def refresh(self) -> bool:
        """Between batches: take a changed rule file over. Whether there is another version now."""
        changed = self.book.reload_if_changed()
        self.version = self.book.version
        return changed

    def score(self, batch: Batch) -> NDArray[np.float64]:
        active, fired = self._fired(batch, anew=True)
        if not active.contributing:
            return np.full(len(batch), np.nan)
        value = joined(active.running.rules, fired, _CONTRIBUTING)
        if active.types is not None:
            value[[e.type not in active.types for e in batch.events]] = np.nan
        return value

    def explain(self, batch: Batch, row: int) -> list[Finding]:
        active, fired = self._fired(batch)
        hits = [r for r, hit in zip(active.running.rules, fired[row], strict=True) if hit and r.contributes]
        findings = [
            Finding(r.id, words, r.score, kind, entity) for r, words, kind, entity in _said(batch, row, active, hits)
        ]
        return sorted(findings, key=lambda f: (-f.weight, f.code))

    def bound(
        self, batch: Batch, score: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64],
        policy: Policies, column: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:  # fmt: skip
        """What the modes ask for, of a batch just scored: its combined score, bounded, and the least action of each event,
        None without any (see `scorers/rules/effect.py`). `column`: this scorer's in `scores` and `weights`."""
        active, fired = self._fired(batch)
        if not fired.any():
            return score, None
        weights = np.broadcast_to(weights, scores.shape)
        found = Found(active.running.rules, fired & (weights[:, column] > 0.0)[:, None], column)
        return bound(batch.events, score, scores, weights, policy, found), found.floor(len(batch))

    def shadow(self, batch: Batch) -> dict[int, tuple[Reason, ...]]:
        """Row -> what shadow rules would have said, with a contribution of 0 and codes `rules.shadow.<id>`."""
        active, fired = self._fired(batch)
        found: dict[int, tuple[Reason, ...]] = {}
        if not fired.any():
            return found
        silent = np.array([not r.contributes for r in active.running.rules], np.bool_)
        for row in np.flatnonzero((fired & silent).any(axis=1)).tolist():
            hits = [r for r, hit in zip(active.running.rules, fired[row], strict=True) if hit and not r.contributes]
            found[row] = tuple(
                Reason(f"{self.name}.shadow.{r.id}", words, 0.0, kind, entity)
                for r, words, kind, entity in _said(batch, row, active, hits)
            )
        return found

    def _fired(self, batch: Batch, *, anew: bool = False) -> tuple[Active, Fired]:
        """Of the batch just scored, what it was scored with: one set a batch, whatever is reloaded meanwhile."""
        last = self._last
        if last is not None and last[0] is batch and not anew:
            return last[1], last[2]
        active = self.book.active
        fired = active.running.fired(batch)
        if anew:
            self._last = batch, active, fired
            for j in np.flatnonzero(fired.any(axis=0)).tolist():
                rule_id = active.running.rules[j].id
                self.fired_by_rule[rule_id] = self.fired_by_rule.get(rule_id, 0) + int(fired[:, j].sum())
        return active, fired


def _said(batch: Batch, row: int, active: Active, hits: list[Rule]) -> list[tuple[Rule, str, str | None, str | None]]:
    """(rule, its reason in words, kind and id of what it is about) for rules that fired on a row."""
    if not hits:
        return []
    values, entities = active.running.read(batch, row), batch.events[row].entities
    return [
        (r, r.reason.words(values), *((r.about, entities[r.about]) if r.about in entities else (None, None)))
        for r in hits
    ]


def build(overrides: Mapping[str, Any]) -> Rules:
    if overrides:
        raise BadInput(f"detector rules has no threshold {next(iter(overrides))!r}", hint="its rules are a file")
    return Rules()
