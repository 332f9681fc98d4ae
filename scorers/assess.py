"""From features to decisions: run the scorers, combine, choose level and action, give reasons."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import RingwatchError
from ringwatch.model import Event, Level, Reason, Versions
from scorers.clues import PatternScorer
from scorers.combine import combine, contributions
from scorers.decision import Decisions
from scorers.detectors.rules import Rules
from scorers.policy import Policy
from scorers.scorer import Batch, Learner, Scorer

_LISTED = "listed"
_EXPLAINED = Level.MEDIUM
_REASONS_KEPT = 8


class Assessor:
    """Pure but for its learners: the same features give the same decisions for any cut into batches."""

    def __init__(self, scorers: Sequence[Scorer], policy: Policy, schema: FeatureSchema) -> None:
        self.scorers = tuple(scorers)
        self.policy = policy
        self.schema = schema
        self.names = tuple(s.name for s in scorers)
        self.versions = Versions(schema.hash, {s.name: s.version for s in scorers}, policy.version)
        self._learners = {s.name: s for s in scorers if isinstance(s, Learner)}
        self._weights_of: dict[str, NDArray[np.float64]] = {}
        self._rules = next(((j, s) for j, s in enumerate(scorers) if isinstance(s, Rules)), None)
        self._patterns = [(j, s) for j, s in enumerate(scorers) if isinstance(s, PatternScorer)]

    def assess(
        self,
        events: Sequence[Event],
        features: NDArray[np.float32],
        seq: NDArray[np.int64],
        *,
        ring_ids: Sequence[str | None] = (),
        learn: bool = True,
    ) -> Decisions:
        """Decisions for events with their features, (n, schema.size). A scorer that fails abstains and says so."""
        batch = Batch(events, features, self.schema, ring_ids)
        if self._rules is not None and self._rules[1].refresh():
            self.versions = Versions(
                self.versions.schema, {s.name: s.version for s in self.scorers}, self.versions.policy
            )
        timing: dict[str, float] = {}
        scores = np.full((len(events), len(self.scorers)), np.nan)
        failed: list[str] = []
        for j, scorer in enumerate(self.scorers):
            started = perf_counter()
            try:
                scores[:, j] = scorer.score(batch)
            except (RingwatchError, FloatingPointError):
                failed.append(f"scorer:{scorer.name}")
            timing[scorer.name] = perf_counter() - started
        started = perf_counter()
        weights = self._weights(events)
        score, least = combine(scores, weights), np.zeros(len(events), np.uint8)
        if self._rules is not None:
            column, rules = self._rules
            score, least = rules.bound(batch, score, scores, weights, self.policy, column)
        score = self._lists(score, scores, events)
        patterns = self._fired(events, scores, weights)
        level, action = self._decide(events, score, patterns)
        action = np.maximum(action, np.where(self._allowed(scores), np.uint8(0), least))
        timing["combine"] = perf_counter() - started
        started = perf_counter()
        reasons: list[tuple[Reason, ...]] = [()] * len(events)
        for row in np.flatnonzero(level >= int(_EXPLAINED)):
            shares = contributions(scores[row].tolist(), weights[row].tolist(), float(score[row]))
            reasons[row] = self._reasons(batch, int(row), shares, patterns[row])
        if self._rules is not None:
            for i, shadow in self._rules[1].shadow(batch).items():
                reasons[i] = (*reasons[i], *shadow)
        timing["reasons"] = perf_counter() - started
        if learn:
            for learner in self._learners.values():
                learner.learn(batch)
        degraded = [(*e.degraded, *failed) if failed else e.degraded for e in events]
        per_event = {stage: s * 1e6 / max(1, len(events)) for stage, s in timing.items()}
        return Decisions(
            events, seq, features, self.schema, self.names, scores, score, level, action, reasons, self.versions,
            per_event, degraded, patterns, ring_ids,
        )  # fmt: skip

    def _weights(self, events: Sequence[Event]) -> NDArray[np.float64]:
        tenants = {e.tenant for e in events}
        for tenant in tenants - self._weights_of.keys():
            policy = self.policy.of(tenant)
            self._weights_of[tenant] = np.array([policy.weight(name) for name in self.names])
        if len(tenants) == 1:
            return np.broadcast_to(self._weights_of[next(iter(tenants))], (len(events), len(self.names)))
        return np.array([self._weights_of[e.tenant] for e in events]).reshape(len(events), len(self.names))

    def _lists(
        self, score: NDArray[np.float64], scores: NDArray[np.float64], events: Sequence[Event]
    ) -> NDArray[np.float64]:
        """A block makes the score 1, an allow keeps it under the first alert level."""
        if _LISTED not in self.names:
            return score
        listed = scores[:, self.names.index(_LISTED)]
        for row in np.flatnonzero(~np.isnan(listed)).tolist():
            cap = 0.99 * self.policy.of(events[row].tenant).levels["MEDIUM"]
            score[row] = 1.0 if listed[row] == 1.0 else min(float(score[row]), cap)
        return score

    def _decide(
        self, events: Sequence[Event], score: NDArray[np.float64], patterns: Sequence[tuple[str, ...]]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Levels by the policy's thresholds, a named pattern at least HIGH; actions by level."""
        named = np.array([int(Level.HIGH) if names else 0 for names in patterns], np.uint8)
        level = np.zeros(len(events), np.uint8)
        action = np.zeros(len(events), np.uint8)
        tenants = [e.tenant for e in events]
        for tenant in sorted(set(tenants)):
            alone = tenants.count(tenant) == len(tenants)
            mine = slice(None) if alone else np.array([t == tenant for t in tenants])
            policy = self.policy.of(tenant)
            level[mine] = np.maximum(np.searchsorted(policy.thresholds(), score[mine], side="right"), named[mine])
            action[mine] = np.array(policy.action_codes(), np.uint8)[level[mine]]
        return level, action

    def _allowed(self, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows on the allow list."""
        if _LISTED not in self.names:
            return np.zeros(len(scores), np.bool_)
        return np.asarray(scores[:, self.names.index(_LISTED)] == 0.0)

    def _fired(
        self, events: Sequence[Event], scores: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> list[tuple[str, ...]]:
        """Patterns at or over their own threshold, strongest first; none where the event is on the allow list."""
        found: list[tuple[str, ...]] = [()] * len(events)
        columns = [j for j, _ in self._patterns]
        if not columns:
            return found
        over = (scores[:, columns] >= [s.alert_at for _, s in self._patterns]) & (weights[:, columns] > 0.0)
        over &= ~self._allowed(scores)[:, None]
        for row in np.flatnonzero(over.any(axis=1)).tolist():
            fired = sorted((-scores[row, j], self.names[j]) for j, on in zip(columns, over[row], strict=True) if on)
            found[row] = tuple(name for _, name in fired)
        return found

    def _reasons(self, batch: Batch, row: int, shares: Sequence[float], patterns: Sequence[str]) -> tuple[Reason, ...]:
        reasons: list[Reason] = []
        for scorer, share in zip(self.scorers, shares, strict=True):
            if share <= 0.0:
                continue
            findings = scorer.explain(batch, row)
            total = sum(f.weight for f in findings)
            for f in findings:
                part = share * f.weight / total if total > 0.0 else 0.0
                reasons.append(Reason(f"{scorer.name}.{f.code}", f.text, part, f.kind, f.entity))
        reasons.sort(key=lambda r: (-r.contribution, r.code))
        return _fold(reasons, patterns)

    def next_mark_us(self) -> int | None:
        """Event time at which `advance` must be called before scoring; the distant past before the first event."""
        marks = [learner.next_mark_us for learner in self._learners.values()]
        return min((_NEVER_ADVANCED if m is None else m for m in marks), default=None)

    def advance(self, at_us: int) -> None:
        for learner in self._learners.values():
            if learner.next_mark_us is None or at_us >= learner.next_mark_us:
                learner.advance(at_us)

    def dump(self) -> dict[str, NDArray[Any]]:
        return {f"{name}/{key}": a for name, learner in self._learners.items() for key, a in learner.dump().items()}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        for name, learner in self._learners.items():
            mine = {k.removeprefix(f"{name}/"): a for k, a in arrays.items() if k.startswith(f"{name}/")}
            if mine:
                learner.load(mine)


_NEVER_ADVANCED = -(2**62)


def _fold(reasons: list[Reason], patterns: Sequence[str]) -> tuple[Reason, ...]:
    """The strongest reasons and the strongest of each named pattern; the rest as one, so that contributions add up."""
    if len(reasons) <= _REASONS_KEPT:
        return tuple(reasons)
    first = [next((r for r in reasons if r.code.startswith(f"{name}.")), None) for name in patterns]
    kept = [r for r in first if r is not None]
    kept += [r for r in reasons if r not in kept][: max(0, _REASONS_KEPT - 1 - len(kept))]
    rest = [r for r in reasons if r not in kept]
    words = f"{len(rest)} weaker reasons: " + ", ".join(r.code for r in rest)
    return (*(r for r in reasons if r in kept), Reason("others", words, sum(r.contribution for r in rest)))
