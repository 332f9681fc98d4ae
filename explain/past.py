"""Assessing again what was stored with a decision, as it was or with something changed.

Nothing of today's state is looked at. What learned from the stream (the isolation forest) and what people list (block and allow)
say what they said then; learned models are found by their id, rules by their version; levels begin where the version of the policy
says they began.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from explain.changes import Gone
from explain.network import AskedAgain
from features.schema import FeatureSchema
from ledger.store import StoredAssessment
from ringwatch.errors import NotFound
from ringwatch.model import Event
from scorers.alert_levels import AlertLevels
from scorers.alerting import LEVELS
from scorers.assess import OTHERS, Assessor
from scorers.decision import Decisions
from scorers.detectors.listed import Listed
from scorers.detectors.rules import Rules
from scorers.learned.book import CHALLENGER_UNUSABLE, LABELS_STALE, NONE, UNUSABLE, Active, Judged, ModelBook, Ready
from scorers.learned.inputs import CHALLENGER, LEARNED, MODELS, NETWORKS
from scorers.learned.model import Evaluator, LearnedModel
from scorers.learned.model_file import load
from scorers.learned.served_network import FAILED, OFF, WARMING, Answer, Numbered
from scorers.learned.shelf import Shelf
from scorers.policy import Policy
from scorers.rules.book import RuleBook
from scorers.rules.rule import RuleSet
from scorers.scorer import Batch, Finding, Learner, Scorer

_PREFIX = {LEARNED: "", CHALLENGER: "challenger:"}
UNUSABLE_CODE = {LEARNED: UNUSABLE, CHALLENGER: CHALLENGER_UNUSABLE}
"""In `degraded`: a model was promoted and could not be asked."""
_SILENT_S = 1.0
_MODELS_KEPT = 6


class Told:
    """Says of each event what a scorer said of the one that was decided, for the reasons it gave. Where a reason names an entity, it
    abstains on events without it."""

    def __init__(self, then: StoredAssessment, name: str) -> None:
        a = then.assessment
        self.name, self.version = name, a.versions.scorers.get(name, NONE)
        self._value = a.scores.get(name)
        begin = f"{name}."
        told = [r for r in a.reasons if r.code.startswith(begin)]
        weights = [1.0] if len(told) == 1 else [r.contribution for r in told]
        self._findings = [
            Finding(r.code.removeprefix(begin), r.text, weight, r.kind, r.entity)
            for r, weight in zip(told, weights, strict=True)
        ]
        folded = [code for r in a.reasons if r.code == OTHERS for code in r.text.partition(": ")[2].split(", ")]
        codes = [code.removeprefix(begin) for code in folded if code.startswith(begin)] or ["as_then"]
        self._unworded = [Finding(code, f"what {name} said when it was decided") for code in codes]
        self._named = {(f.kind, f.entity) for f in self._findings if f.kind is not None}

    def score(self, batch: Batch) -> NDArray[np.float64]:
        value = np.nan if self._value is None else self._value
        there = [all(e.entities.get(str(kind)) == id_ for kind, id_ in self._named) for e in batch.events]
        return np.where(there, value, np.nan)

    def explain(self, batch: Batch, row: int) -> Sequence[Finding]:
        return self._findings or self._unworded


class PastModels(ModelBook):
    """The models that judged one decision, with what their networks said then."""

    def __init__(self, then: StoredAssessment, evaluator_of: Callable[[str, bool], Evaluator]) -> None:
        """`evaluator_of`: of a model's id, that takes labels for stopped, or for coming."""
        super().__init__()
        degraded = then.assessment.degraded
        found: dict[str, Ready | None] = dict.fromkeys(MODELS)
        self._networks_said: dict[str, Answer] = {}
        self._asked_again: AskedAgain | None = None
        self._gone: Sequence[Gone] = ()
        for name, network in zip(MODELS, NETWORKS, strict=True):
            id_ = then.assessment.versions.scorers.get(name, NONE)
            if id_ == NONE or UNUSABLE_CODE[name] in degraded:
                continue
            stale = f"{_PREFIX[name]}{LABELS_STALE}" in degraded
            found[name] = Ready(id_, evaluator_of(id_, stale))
            said = then.assessment.scores.get(network)
            age_s = then.assessment.embedding_age_s
            why = next((w for w in (OFF, WARMING, FAILED) if f"{_PREFIX[name]}{w}" in degraded), OFF)
            self._networks_said[id_] = Answer(_one(said), _one(age_s if said is not None else None), why)
            if name == LEARNED and said is not None and then.hood:
                gnn = evaluator_of(id_, stale).model.network
                self._asked_again = None if gnn is None else AskedAgain(gnn, then.hood)
        unusable = tuple(code for code in UNUSABLE_CODE.values() if code in degraded)
        self.active = Active(found[LEARNED], found[CHALLENGER], unusable)

    @property
    def network_counts(self) -> bool | None:
        """Whether the champion's network is asked again without what is thought away; None where it had no part."""
        champion = self.active.champion
        if champion is None or np.isnan(self._networks_said[champion.id].prob[0]):
            return None
        return self._asked_again is not None

    def saw(self, gone: Gone) -> Gone:
        """Those of the links that the champion's network saw, and can be asked without."""
        return frozenset() if self._asked_again is None else self._asked_again.saw(gone)

    def think_away(self, gone: Sequence[Gone]) -> None:
        """Of the events judged next, one entry each: what of `saw` the champion's network is asked without."""
        self._gone = gone

    def judge(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], silence_s: NDArray[np.float64],
        items: Sequence[Numbered] | None = None,
    ) -> Judged:  # fmt: skip
        """Whether labels had stopped is as it was then, whatever is changed."""
        return super().judge(features, scores, np.full(len(features), _SILENT_S), items)

    def _hear(self, one: Ready, items: Sequence[Numbered] | None, n: int) -> Answer:
        said = self._networks_said[one.id]
        prob = np.repeat(said.prob, n)
        champion = self.active.champion
        if self._asked_again is not None and champion is not None and one.id == champion.id:
            rows = [row for row, gone in enumerate(self._gone) if gone]
            prob[rows] = self._asked_again.without([self._gone[row] for row in rows])
        return Answer(prob, np.repeat(said.age_s, n), said.why)


def _one(value: float | None) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value])


class Past:
    """Assesses by one process's configuration. Safe to call from several threads."""

    def __init__(
        self, schema: FeatureSchema, new_scorers: Callable[[], Sequence[Scorer]], policy: Policy, shelf: Shelf | None = None,
        rules_of: Callable[[str], RuleSet | None] = lambda version: None,
        policy_of: Callable[[str], Policy | None] = lambda version: None,
    ) -> None:  # fmt: skip
        """`new_scorers`: all of them, as they are configured now, without lists and rules; `policy`: that of now; `rules_of`, `policy_of`:
        of a version, None where it is not kept."""
        self._policy_of = policy_of
        self.schema, self.policy, self._shelf, self._rules_of = schema, policy, shelf, rules_of
        self._new_scorers, self._kept = new_scorers, threading.local()
        self._evaluators: dict[tuple[str, bool], Evaluator] = {}

    def assessor(self, then: StoredAssessment) -> tuple[Assessor, PastModels]:
        """Of one decision, and its models. Raises NotFound or Corrupt where a model that judged it is not there."""
        failed = {code.removeprefix("scorer:") for code in then.assessment.degraded if code.startswith("scorer:")}
        scorers = [
            Told(then, s.name) if isinstance(s, Learner | Listed) or s.name in failed
            else self._rules(then) if isinstance(s, Rules) else s
            for s in self._scorers()
        ]  # fmt: skip
        names = [s.name for s in scorers]
        version = then.assessment.versions.policy.partition("@")[0]
        known = None if version == self.policy.version else self._policy_of(version)
        policy = _as_moved(known or self.policy, then)
        models = PastModels(then, lambda id_, stale: self._evaluator(id_, names, stale=stale))
        return Assessor(scorers, policy, self.schema, AlertLevels(policy), models), models

    def _evaluator(self, id_: str, scorers: Sequence[str], *, stale: bool) -> Evaluator:
        """Models never change: the last ones are kept."""
        found = self._evaluators.get((id_, stale))
        if found is None:
            model = replace(self._model(id_), patience_s=0.0 if stale else np.inf)
            found = Evaluator(model, self.schema.names, scorers)
            if len(self._evaluators) >= _MODELS_KEPT:
                self._evaluators.clear()
            self._evaluators[id_, stale] = found
        return found

    def _model(self, id_: str) -> LearnedModel:
        if self._shelf is None:
            raise NotFound(f"there are no models here, {id_} is needed", hint="set RINGWATCH_MODELS_DIR")
        placed = self._shelf.placed(id_.rpartition(".")[0])
        if placed.id != id_:
            raise NotFound(
                f"{self._shelf.folder} has {placed.id}, not the model {id_}", hint="restore the folder of models"
            )
        return load(self._shelf.model(placed), schema=self.schema.hash)[0]

    def _scorers(self) -> Sequence[Scorer]:
        """Of this thread: they keep what they look at most lately."""
        found: Sequence[Scorer] | None = getattr(self._kept, "scorers", None)
        if found is None:
            found = self._kept.scorers = tuple(self._new_scorers())
        return found

    def _rules(self, then: StoredAssessment) -> Rules:
        rules = Rules()
        version = then.assessment.versions.scorers.get(rules.name, NONE)
        if version != rules.version and (known := self._rules_of(version)) is not None:
            rules.use(RuleBook(known))
        return rules

    def vector(self, then: StoredAssessment) -> NDArray[np.float32]:
        """The feature vector (schema.size,). Raises NotFound where it was not kept or is of another schema."""
        if then.assessment.versions.schema != self.schema.hash:
            message = f"event {then.event.event_id!r} was decided with feature schema {then.assessment.versions.schema}"
            raise NotFound(
                message, hint=f"this version has {self.schema.hash}; the version that decided it can replay it"
            )
        if not then.features:
            message = f"the features of event {then.event.event_id!r} were not kept"
            raise NotFound(message, hint="RINGWATCH_FEATURES_SHARE says of how many events of no account they are")
        found = np.full(self.schema.size, np.nan, np.float32)
        for name, value in then.features.items():
            found[self.schema.column(name)] = value
        return found

    @staticmethod
    def assess(
        assessor: Assessor, events: Sequence[Event], features: NDArray[np.float32], ring_ids: Sequence[str | None], *,
        explained: bool = True,
    ) -> Decisions:  # fmt: skip
        """Variants of the event with their features (n, schema.size)."""
        seq = np.full(len(events), -1, np.int64)
        return assessor.assess(events, features, seq, ring_ids=ring_ids, learn=False, look=True, explained=explained)


def _as_moved(policy: Policy, then: StoredAssessment) -> Policy:
    """With the levels of then, where the version names them: those that an alert budget had moved."""
    _, moved, levels = then.assessment.versions.policy.partition("@")
    tenant = then.assessment.tenant
    mine = policy.of(tenant)
    if moved:
        values = dict(zip(LEVELS, (float(x) for x in levels.split("/")), strict=True))
        mine = msgspec.structs.replace(mine, levels=values)
    return Policy(msgspec.structs.replace(mine, alerting=None))
