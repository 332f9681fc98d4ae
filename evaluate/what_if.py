"""What a rule set would have done over the history in the ledger: each event with the features it was scored with.

Nothing is recomputed and nothing leaks from the future: the features are the stored ones. Labels are those known now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from ledger.store import LedgerStore, StoredAssessment
from ringwatch.model import HOUR_US, Level
from scorers.rules.evaluation import Evaluator
from scorers.rules.rule import Rule, RuleSet

_CHUNK = 2000
_Key = tuple[str, str, str]


@dataclass(slots=True)
class RuleFigures:
    """One rule over the history. Every mode is evaluated, `off` too."""

    id: str
    mode: str
    events: int = 0
    share: float = 0.0
    """Of all events looked at."""
    users: int = 0
    """Distinct users of the events it fires on."""
    fraud: int = 0
    """Of its events, labelled as fraud."""
    good: int = 0
    precision: float | None = None
    """fraud / (fraud + good); None where nothing is labelled."""
    recall: float | None = None
    """Its share of all events labelled as fraud."""
    already: int = 0
    """Its events that were MEDIUM or higher already."""
    new_alerts: int = 0
    """Alerts it would add: events below MEDIUM, grouped by what the rule is about within the alert window."""
    only_this: int = 0
    """Its events that were below MEDIUM and on which no other rule of the set fires."""
    amount_minor: int = 0
    overlap: dict[str, int] = field(default_factory=dict)
    """Other rule -> events on which both fire; zeros left out."""


@dataclass(slots=True)
class WhatIf:
    version: str
    events: int = 0
    from_us: int | None = None
    until_us: int | None = None
    labelled: int = 0
    fraud: int = 0
    already: int = 0
    """Events that were MEDIUM or higher."""
    any_rule: int = 0
    """Events on which at least one rule fires."""
    rules: list[RuleFigures] = field(default_factory=list)


def what_if(
    ledger: LedgerStore, rules: RuleSet, *, since_us: int | None = None, window_us: int = 24 * HOUR_US,
    progress: Callable[[int], None] | None = None,
) -> WhatIf:  # fmt: skip
    """Reads the whole ledger once. `window_us`: within which events make one alert."""
    tally = _Tally(rules, window_us)
    for done in ledger.iterate(chunk=_CHUNK):
        some = [s for _, s in done if since_us is None or s.event.at_us >= since_us]
        if some:
            tally.add(some, known_labels(ledger, some))
        if progress is not None:
            progress(len(done))
    return tally.result()


def known_labels(ledger: LedgerStore, stored: Sequence[StoredAssessment]) -> NDArray[np.int8]:
    """1 fraud, 0 good, -1 not labelled; a label of the event before one of its user, a later one before an earlier."""
    found = np.full(len(stored), -1, np.int8)
    for tenant in sorted({s.event.tenant for s in stored}):
        mine = [(i, s.event) for i, s in enumerate(stored) if s.event.tenant == tenant]
        for kind in ("user", "event"):
            ids = [(i, e.event_id if kind == "event" else e.user) for i, e in mine]
            wanted = sorted({target for _, target in ids if target is not None})
            known: dict[str, int] = {}
            for label in sorted(ledger.labels_of(tenant, kind, wanted), key=lambda x: (x.known_at_us, x.label)):
                known[label.target_id] = int(label.label == "fraud")
            for i, target in ids:
                if target in known:
                    found[i] = known[target]
    return found


class _Tally:
    def __init__(self, rules: RuleSet, window_us: int) -> None:
        self._rules = rules.rules
        self._evaluator = Evaluator(rules.rules)
        self._window_us = window_us
        self._result = WhatIf(rules.version, rules=[RuleFigures(r.id, r.mode) for r in rules.rules])
        self._both = np.zeros((len(self._rules), len(self._rules)), np.int64)
        self._users: list[set[tuple[str, str]]] = [set() for _ in self._rules]
        self._last: list[dict[_Key, int]] = [{} for _ in self._rules]

    def add(self, stored: Sequence[StoredAssessment], labels: NDArray[np.int8]) -> None:
        events = [s.event for s in stored]
        columns = [
            np.array([s.features.get(c.name, nan) for s in stored], np.float64) for c in self._evaluator.features
        ]
        fired = self._evaluator.fired_columns(events, columns)
        already = np.array([Level[s.assessment.level] >= Level.MEDIUM for s in stored])
        amounts = np.array([e.amount_minor or 0 for e in events], object)
        times = [e.at_us for e in events]
        whole = self._result
        whole.events += len(events)
        whole.from_us = min(times) if whole.from_us is None else min(whole.from_us, *times)
        whole.until_us = max(times) if whole.until_us is None else max(whole.until_us, *times)
        whole.labelled += int((labels >= 0).sum())
        whole.fraud += int((labels == 1).sum())
        whole.already += int(already.sum())
        hits_per_event = fired.sum(axis=1)
        whole.any_rule += int((hits_per_event > 0).sum())
        counted = fired.astype(np.int64)
        self._both += counted.T @ counted
        for j, (rule, figures) in enumerate(zip(self._rules, whole.rules, strict=True)):
            hit = fired[:, j]
            figures.events += int(hit.sum())
            figures.fraud += int((hit & (labels == 1)).sum())
            figures.good += int((hit & (labels == 0)).sum())
            figures.already += int((hit & already).sum())
            figures.only_this += int((hit & ~already & (hits_per_event == 1)).sum())
            figures.amount_minor += int(sum(amounts[hit]))
            for row in np.flatnonzero(hit).tolist():
                self._hit(j, rule, stored[row], new=not already[row])

    def _hit(self, j: int, rule: Rule, stored: StoredAssessment, *, new: bool) -> None:
        event = stored.event
        if event.user is not None:
            self._users[j].add((event.tenant, event.user))
        if not new:
            return
        about = rule.about if rule.about in event.entities else "user" if event.user is not None else "event"
        key = (event.tenant, str(about), event.entities.get(str(about), event.event_id))
        last = self._last[j].get(key)
        if last is None or event.at_us - last > self._window_us:
            self._result.rules[j].new_alerts += 1
        self._last[j][key] = event.at_us if last is None else max(last, event.at_us)

    def result(self) -> WhatIf:
        whole = self._result
        ids = [r.id for r in self._rules]
        for j, figures in enumerate(whole.rules):
            labelled = figures.fraud + figures.good
            figures.share = figures.events / whole.events if whole.events else 0.0
            figures.users = len(self._users[j])
            figures.precision = figures.fraud / labelled if labelled else None
            figures.recall = figures.fraud / whole.fraud if whole.fraud else None
            figures.overlap = {ids[k]: int(n) for k, n in enumerate(self._both[j]) if k != j and n}
        return whole
