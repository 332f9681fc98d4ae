"""Fixtures run: what proves that each rule does what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan

import numpy as np

from ringwatch.errors import BadInput
from scorers.rules.evaluation import Evaluator
from scorers.rules.rule import Rule, RuleSet
from scorers.rules.trouble import Trouble


@dataclass(slots=True)
class Proof:
    """What the fixtures of a set showed."""

    fixtures: int = 0
    failures: list[Trouble] = field(default_factory=list)
    unproved: list[Trouble] = field(default_factory=list)
    """Rules without a fixture on which they fire, or without one on which they do not."""


def prove(rules: RuleSet) -> Proof:
    proof = Proof()
    for rule in rules.rules:
        _prove_one(rule, proof)
    return proof


def _prove_one(rule: Rule, proof: Proof) -> None:
    expected = {f.expect for f in rule.fixtures}
    for wanted, words in ((True, "fires"), (False, "does not fire")):
        if wanted not in expected:
            text = f"rule {rule.id} has no fixture on which it {words}"
            proof.unproved.append(Trouble(rule.place, text, f"add one with expect: {str(wanted).lower()}"))
    if not rule.fixtures:
        return
    proof.fixtures += len(rule.fixtures)
    evaluator = Evaluator([rule])
    with np.errstate(over="ignore"):  # as float32, as features are when it runs
        columns = [
            np.array([f.features.get(c.name, nan) for f in rule.fixtures]).astype(np.float32).astype(np.float64)
            for c in evaluator.features
        ]
    fired = evaluator.fired_columns([f.event for f in rule.fixtures], columns)[:, 0]
    for fixture, hit in zip(rule.fixtures, fired.tolist(), strict=True):
        if hit != fixture.expect:
            did, should = ("fires", "it should not") if hit else ("does not fire", "it should")
            hint = "missing values never fire: does the fixture give all it reads?" if fixture.expect else ""
            proof.failures.append(Trouble(fixture.place, f"rule {rule.id} {did} on this fixture, {should}", hint))


def require_proof(rules: RuleSet, path: str) -> RuleSet:
    """The set, its fixtures having passed. Raises BadInput with the failures' lines."""
    failures = [t.at(path) for t in prove(rules).failures]
    if failures:
        more = f"; {len(failures) - 1} more" if len(failures) > 1 else ""
        message = f"a fixture fails: {failures[0]}{more}"
        raise BadInput(message, hint="`ringwatch rules test` shows all", troubles=failures)
    return rules
