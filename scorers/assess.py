"""From features to decisions: run the scorers, combine, choose level and action, give reasons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import RingwatchError
from ringwatch.model import Action, Event, Level, Reason, Versions
from scorers.alert_levels import OVER_BUDGET, AlertLevels
from scorers.clues import PatternScorer
from scorers.combine import combine, contributions
from scorers.decision import Decisions, asked_about
from scorers.detectors.listed import Listed
from scorers.detectors.rules import Rules
from scorers.learned.book import Judged, ModelBook
from scorers.learned.inputs import CHALLENGER, LEARNED, OF_MODELS, SAID
from scorers.learned.model import Addends
from scorers.learned.reasons import reasons as learned_reasons
from scorers.learned.served_network import Numbered
from scorers.learned.silence import Silences
from scorers.lists import VERDICTS
from scorers.policy import Policy
from scorers.scorer import Batch, Learner, Scorer
from scorers.terms import Terms, decide, weights_of

OTHERS = "others"
"""Code of the reason that stands for the weaker ones; its text names their codes."""
_LISTED = "listed"
_EXPLAINED = Level.MEDIUM
_REASONS_KEPT = 8


class Assessor:
    """Pure but for its learners: the same features give the same decisions for any cut into batches."""

    def __init__(
        self, scorers: Sequence[Scorer], policy: Policy, schema: FeatureSchema, levels: AlertLevels | None = None,
        book: ModelBook | None = None,
    ) -> None:  # fmt: skip
        """`levels`: where they begin, by the same policy. `book`: models, on the features of `schema` and the scores of `scorers`."""
        self.scorers = tuple(scorers)
        self.policy = policy
        self.levels = levels or AlertLevels(policy)
        self.schema = schema
        self.book = book or ModelBook()
        self.names = (*(s.name for s in scorers), *OF_MODELS)
        """Columns of the scores: the scorers, then what models say."""
        self._by_name = {s.name: s for s in scorers}
        self._silences = Silences(schema)
        self._learners = {s.name: s for s in scorers if isinstance(s, Learner)}
        self._terms_of: dict[str, Terms] = {}
        self._listed = self.names.index(_LISTED) if _LISTED in self.names else -1
        alert_at = [s.alert_at if isinstance(s, PatternScorer) else np.inf for s in scorers]
        self._alert_at = np.array([*alert_at, *(np.inf for _ in OF_MODELS)])
        self._rules = next(((j, s) for j, s in enumerate(scorers) if isinstance(s, Rules)), None)
        self.lists = next((s.lists for s in scorers if isinstance(s, Listed)), None)

    def assess(
        self,
        events: Sequence[Event],
        features: NDArray[np.float32],
        seq: NDArray[np.int64],
        *,
        ring_ids: Sequence[str | None] = (),
        learn: bool = True,
        look: bool = False,
        explained: bool = True,
        items: Sequence[Numbered] | None = None,
    ) -> Decisions:
        """Decisions for events with their features, (n, schema.size). A scorer that fails abstains and says so. `look`: the events are
        none of the stream, nothing of them is remembered. `explained`: with reasons. `items`: the events and the labels among them, as the
        state took them in; without it graph networks are not asked."""
        batch = Batch(events, features, self.schema, ring_ids)
        if self._rules is not None and self._rules[1].refresh():
            self._terms_of.clear()
        if self.book.refresh():
            self._terms_of.clear()
        if self.lists is not None:
            self.lists.refresh()
        timing: dict[str, float] = {}
        scores = np.full((len(events), len(self.names)), np.nan)
        failed: list[str] = []
        for j, scorer in enumerate(self.scorers):
            started = perf_counter()
            try:
                scores[:, j] = scorer.score(batch)
            except (RingwatchError, FloatingPointError):
                failed.append(f"scorer:{scorer.name}")
            timing[scorer.name] = perf_counter() - started
        started = perf_counter()
        judged = self._judge(batch, scores, items, keep=not look)
        timing[LEARNED] = perf_counter() - started
        started = perf_counter()
        terms = [self._terms(e.tenant) for e in events]
        weights = weights_of(terms)
        counted = weights if judged.champion is None else self._counted(scores, weights, judged)
        score = combine(scores, counted)
        least: NDArray[np.uint8] | None = None
        if self._rules is not None:
            column, rules = self._rules
            score, least = rules.bound(batch, score, scores, counted, self.levels, column)
        listed = self._lists(score, scores, terms)
        patterns = self._fired(scores, weights, listed)
        level, action = decide(score, patterns, terms)
        if least is not None:
            action = np.maximum(action, np.where(listed == _ALLOW, np.uint8(0), least))
        action[listed == _BLOCK] = Action.BLOCK
        timing["combine"] = perf_counter() - started
        started = perf_counter()
        reasons: list[tuple[Reason, ...]] = [()] * len(events)
        worth = np.flatnonzero(level >= int(_EXPLAINED)) if explained else np.zeros(0, np.int64)
        said = self._said(batch, scores, judged, worth)
        for row in worth.tolist():
            mine = counted[row if len(counted) > 1 else 0]
            shares = contributions(scores[row].tolist(), mine.tolist(), float(score[row]))
            reasons[row] = self._reasons(batch, row, shares, patterns[row], said.get(row))
        if self._rules is not None:
            for i, shadow in self._rules[1].shadow(batch).items():
                reasons[i] = (*reasons[i], *shadow)
        timing["reasons"] = perf_counter() - started
        if learn:
            for learner in self._learners.values():
                learner.learn(batch)
        degraded = [(*e.degraded, *failed, *of) for e, of in zip(events, judged.degraded, strict=True)]
        for held in self._held_back(events, score, level, listed):
            degraded[held] = (*degraded[held], OVER_BUDGET)
        versions = [t.versions for t in terms]
        per_event = {stage: s * 1e6 / max(1, len(events)) for stage, s in timing.items()}
        return Decisions(
            events, seq, features, self.schema, self.names, scores, score, level, action, reasons, versions,
            per_event, degraded, patterns, ring_ids,
            embedding_age_s=_ages(judged.age_s), hoods=_hoods(judged, events, level, action),
        )  # fmt: skip

    def _terms(self, tenant: str) -> Terms:
        found = self._terms_of.get(tenant)
        if found is None:
            policy, version = self.levels.in_force(tenant)
            weights = np.array([policy.weight(s.name) for s in self.scorers] + [0.0] * len(OF_MODELS))
            thresholds, actions = np.array(policy.thresholds()), np.array(policy.action_codes(), np.uint8)
            same = next((t.versions for t in self._terms_of.values() if t.versions.policy == version), None)
            versions = same or Versions(self.schema.hash, self._versions(), version)
            calm = 0.99 * policy.levels["MEDIUM"]
            found = self._terms_of[tenant] = Terms(weights, thresholds, actions, calm, versions)
        return found

    def _versions(self) -> dict[str, str]:
        """By name in order, as the ledger gives them back."""
        known = self.book.known
        asked = {s.name: s.version for s in self.scorers}
        return dict(sorted({**asked, LEARNED: known["champion"], CHALLENGER: known["challenger"]}.items()))

    def _judge(
        self, batch: Batch, scores: NDArray[np.float64], items: Sequence[Numbered] | None, *, keep: bool
    ) -> Judged:
        """What models say, which the scores then hold, too."""
        scored = len(self.scorers)
        silence_s = self._silences.take(batch.events, batch.features, keep=keep)
        judged = self.book.judge(batch.features, scores[:, :scored], silence_s, items)
        scores[:, scored:] = judged.scores
        return judged

    def _counted(
        self, scores: NDArray[np.float64], weights: NDArray[np.float64], judged: Judged
    ) -> NDArray[np.float64]:
        """Weights of what makes the score, as `_weights`: where the champion has an answer that alone, with what people decided on top, and
        with the rest as ever where the model says so."""
        answered = ~np.isnan(scores[:, len(self.scorers)])
        with_model = np.where([name in SAID for name in self.names], weights, 0.0)
        if judged.champion is not None and (stays := judged.champion.evaluator.beside_rule(judged.stale)).any():
            with_model = np.where(stays[:, None], weights, with_model)
        with_model[:, len(self.scorers)] = 1.0
        return with_model if answered.all() else np.where(answered[:, None], with_model, weights)

    def _said(
        self, batch: Batch, scores: NDArray[np.float64], judged: Judged, rows: NDArray[np.int64]
    ) -> dict[int, tuple[Addends, int]]:
        """Row -> what its inputs add to what the champion says, and where in it, for those of these rows that it has an answer for."""
        if judged.champion is None:
            return {}
        found: dict[int, tuple[Addends, int]] = {}
        rows = rows[~np.isnan(judged.scores[rows, 0])]
        unasked = np.isnan(judged.network)
        for stale, alone in product((False, True), (False, True)):
            some = rows[(judged.stale[rows] == stale) & (unasked[rows] == alone)]
            if len(some):
                of = np.ascontiguousarray(scores[some, : len(self.scorers)])
                network = None if alone else judged.network[some]
                addends = judged.champion.evaluator.explain(batch.features[some], of, stale=stale, network=network)
                found |= {row: (addends, at) for at, row in enumerate(some.tolist())}
        return found

    def _held_back(
        self, events: Sequence[Event], score: NDArray[np.float64], level: NDArray[np.uint8], listed: NDArray[np.float64]
    ) -> list[int]:
        """Rows that only an alert budget keeps from being alerts."""
        if not self.levels.active:
            return []
        rows = np.flatnonzero((score > 0.0) & (listed != _ALLOW)).tolist()
        return [row for row in rows if self.levels.held_back(events[row].tenant, float(score[row]), int(level[row]))]

    def _lists(
        self, score: NDArray[np.float64], scores: NDArray[np.float64], terms: Sequence[Terms]
    ) -> NDArray[np.float64]:
        """A block makes the score 1, a watch lifts it to the first alert level, an allow keeps it under that. What the lists say of each event."""
        if self._listed < 0:
            return np.full(len(score), np.nan)
        listed = scores[:, self._listed]
        for row in np.flatnonzero(listed == listed).tolist():
            mine = terms[row]
            if listed[row] == _ALLOW:
                score[row] = min(float(score[row]), mine.calm)
            else:
                score[row] = 1.0 if listed[row] == _BLOCK else max(float(score[row]), float(mine.thresholds[0]))
        return listed

    def _fired(
        self, scores: NDArray[np.float64], weights: NDArray[np.float64], listed: NDArray[np.float64]
    ) -> list[tuple[str, ...]]:
        """Patterns at or over their own threshold, strongest first; none where the event is on the allow list."""
        found: list[tuple[str, ...]] = [()] * len(scores)
        over = (scores >= self._alert_at) & (weights > 0.0)
        if not over.any():
            return found
        for row in np.flatnonzero(over.any(axis=1) & (listed != _ALLOW)).tolist():
            fired = sorted((-scores[row, j], self.names[j]) for j in np.flatnonzero(over[row]).tolist())
            found[row] = tuple(name for _, name in fired)
        return found

    def _reasons(
        self, batch: Batch, row: int, shares: Sequence[float], patterns: Sequence[str], said: tuple[Addends, int] | None
    ) -> tuple[Reason, ...]:
        """`said`: where a model's answer has part in the score."""
        reasons: list[Reason] = []
        if said is not None:
            reasons += learned_reasons(batch, row, shares[len(self.scorers)], *said, self._by_name, patterns)
        for scorer, share in zip(self.scorers, shares, strict=False):
            if share <= 0.0:
                continue
            findings = scorer.explain(batch, row)
            total = sum(f.weight for f in findings)
            for f in findings:
                part = share * f.weight / total if total > 0.0 else 0.0
                reasons.append(Reason(f"{scorer.name}.{f.code}", f.text, part, f.kind, f.entity))
        reasons = _once(reasons) if said is not None else reasons
        reasons.sort(key=lambda r: (-r.contribution, r.code))
        return _fold(reasons, patterns)

    def learn(
        self, events: Sequence[Event], features: NDArray[np.float32], ring_ids: Sequence[str | None] = ()
    ) -> None:
        """Teach the learners what was scored elsewhere, in order."""
        self._silences.take(events, features, keep=True)
        batch = Batch(events, features, self.schema, ring_ids)
        for learner in self._learners.values():
            learner.learn(batch)

    @property
    def list_trouble(self) -> str:
        """Why entries of lists may be old."""
        return "" if self.lists is None else self.lists.trouble

    def next_mark_us(self) -> int | None:
        """Event time at which `advance` must be called before scoring; the distant past before the first event."""
        marks = [learner.next_mark_us for learner in self._learners.values()]
        if self.levels.active:
            marks.append(self.levels.next_mark_us)
        return min((_NEVER_ADVANCED if m is None else m for m in marks), default=None)

    def advance(self, at_us: int) -> None:
        for learner in self._learners.values():
            if learner.next_mark_us is None or at_us >= learner.next_mark_us:
                learner.advance(at_us)
        if self.levels.active and (self.levels.next_mark_us is None or at_us >= self.levels.next_mark_us):
            self.levels.advance(at_us)
            self._terms_of.clear()

    def models(self) -> dict[str, NDArray[Any]]:
        """What the learners score with now, for processes that do not learn themselves."""
        found = {f"{name}/{key}": a for name, learner in self._learners.items() for key, a in learner.model().items()}
        found |= {f"{_SILENCE}/{key}": a for key, a in self._silences.model().items()}
        return found | {f"{_LEVELS}/{key}": a for key, a in self.levels.model().items()}

    def use(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Score with the `models` of another process."""
        for name, learner in self._learners.items():
            if mine := _of(name, arrays):
                learner.use(mine)
        if mine := _of(_SILENCE, arrays):
            self._silences.use(mine)
        if mine := _of(_LEVELS, arrays):
            self.levels.use(mine)
            self._terms_of.clear()

    def dump(self) -> dict[str, NDArray[Any]]:
        found = {f"{name}/{key}": a for name, learner in self._learners.items() for key, a in learner.dump().items()}
        found |= {f"{_SILENCE}/{key}": a for key, a in self._silences.dump().items()}
        found |= {f"{_NETWORKS}/{key}": a for key, a in self.book.dump().items()}
        return found | {f"{_LEVELS}/{key}": a for key, a in self.levels.dump().items()}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        for name, learner in self._learners.items():
            if mine := _of(name, arrays):
                learner.load(mine)
        if mine := _of(_SILENCE, arrays):
            self._silences.load(mine)
        self.book.load(_of(_NETWORKS, arrays))
        if mine := _of(_LEVELS, arrays):
            self.levels.load(mine)
            self._terms_of.clear()


def _ages(age_s: NDArray[np.float64]) -> Sequence[float | None]:
    """Without NaN; empty where there is nothing else."""
    if np.isnan(age_s).all():
        return ()
    return [None if age != age else age for age in age_s.tolist()]


def _hoods(
    judged: Judged, events: Sequence[Event], level: NDArray[np.uint8], action: NDArray[np.uint8]
) -> Sequence[bytes]:
    """What the network saw, of decisions that somebody may ask about; empty where it was asked about none."""
    asked = ~np.isnan(judged.network)
    if not asked.any():
        return ()
    found = [b""] * len(events)
    for row in np.flatnonzero(asked & asked_about(events, level, action)).tolist():
        found[row] = judged.hood(row)
    return found


def _of(name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}


_LEVELS, _SILENCE, _NETWORKS = "alert_levels", "silence", "networks"
"""Among the names of learners."""
_NEVER_ADVANCED = -(2**62)
_ALLOW, _BLOCK = VERDICTS["allow"], VERDICTS["block"]


def _once(reasons: Sequence[Reason]) -> list[Reason]:
    """What a scorer says, for a model that looks at it and for itself, as one reason."""
    found: dict[tuple[str, str, str | None], Reason] = {}
    for r in reasons:
        key = r.code, r.text, r.entity
        found[key] = (
            r if key not in found else msgspec.structs.replace(r, contribution=found[key].contribution + r.contribution)
        )
    return list(found.values())


def _fold(reasons: list[Reason], patterns: Sequence[str]) -> tuple[Reason, ...]:
    """The strongest reasons and the strongest of each named pattern; the rest as one, so that contributions add up."""
    if len(reasons) <= _REASONS_KEPT:
        return tuple(reasons)
    first = [next((r for r in reasons if r.code.startswith(f"{name}.")), None) for name in patterns]
    kept = [r for r in first if r is not None]
    kept += [r for r in reasons if r not in kept][: max(0, _REASONS_KEPT - 1 - len(kept))]
    rest = [r for r in reasons if r not in kept]
    words = f"{len(rest)} weaker reasons: " + ", ".join(r.code for r in rest)
    return (*(r for r in reasons if r in kept), Reason(OTHERS, words, sum(r.contribution for r in rest)))
