"""The alert threshold that the history in the ledger asks for, by a policy's `alerting`, and what it would have meant.

Scores, patterns and amounts are the stored ones, as of each event; labels are those known now. What is counted is an account's day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluate.what_if import known_labels
from features.columns import entity_key
from ledger.store import LedgerStore, StoredAssessment
from ringwatch.model import DAY_US
from scorers.alerting import Alerting
from scorers.policy import Policy, TenantPolicy
from scorers.thresholds import Threshold, Units, account_days, for_budget, for_costs, for_precision
from scorers.workload import Scale

_CHUNK = 2000


@dataclass(slots=True)
class Past:
    """Of one tenant: an entry an event."""

    account: list[int] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    amount: list[float] = field(default_factory=list)
    always: list[bool] = field(default_factory=list)
    """An alert at any threshold: a pattern was named."""

    @property
    def days(self) -> float:
        return max(1.0, (max(self.at_us) - min(self.at_us)) / DAY_US)


@dataclass(frozen=True, slots=True)
class Proposal:
    tenant: str
    kind: str
    level: str
    threshold: float
    """Within what the policy allows."""
    reached: bool
    """Whether the past shows what is asked for; without enough labels it cannot."""
    expected: float | None
    """The precision shown, the cost of all, the work a day; None where nothing is known."""
    days: float
    accounts_a_day: float
    """Alerted at that threshold."""
    accounts_a_day_fixed: float
    """At the policy's fixed level."""
    labelled: int
    """Account-days with a label."""
    precision: float | None
    """Of those of them that are alerted."""
    recall: float | None
    """Of the frauds among them."""


def propose(
    ledger: LedgerStore, policy: Policy, *, since_us: int | None = None, progress: Callable[[int], None] | None = None
) -> list[Proposal]:
    """For each tenant in the ledger whose policy has an `alerting`. Reads the whole ledger once."""
    pasts: dict[str, Past] = {}
    for done in ledger.iterate(chunk=_CHUNK):
        some = [s for _, s in done if since_us is None or s.event.at_us >= since_us]
        for stored, label in zip(some, known_labels(ledger, some).tolist(), strict=True):
            _take(pasts.setdefault(stored.event.tenant, Past()), stored, label)
        if progress is not None:
            progress(len(done))
    wanted = ((tenant, past, policy.of(tenant)) for tenant, past in sorted(pasts.items()))
    return [_propose(tenant, past, its, its.alerting) for tenant, past, its in wanted if its.alerting is not None]


def _take(past: Past, stored: StoredAssessment, label: int) -> None:
    event = stored.event
    about = ("event", event.event_id) if event.user is None else ("user", event.user)
    past.account.append(entity_key(event.tenant, *about))
    past.at_us.append(event.at_us)
    past.score.append(stored.assessment.score)
    past.label.append(label)
    past.amount.append(float(event.amount_minor or 0))
    past.always.append(bool(stored.assessment.patterns))


def _propose(tenant: str, past: Past, policy: TenantPolicy, alerting: Alerting) -> Proposal:
    least, most = alerting.floor, policy.levels[alerting.always]
    score = np.array(past.score)
    score = np.where(past.always, np.maximum(score, most), score)
    at_us, label = np.array(past.at_us), np.array(past.label, np.int8)
    if alerting.good_after_days is not None:
        label[(label < 0) & (at_us <= at_us.max() - alerting.good_after_days * DAY_US)] = 0
    units = account_days(np.array(past.account, np.uint64), at_us, score, label, np.array(past.amount))
    found = _found(units, past.days, alerting, policy)
    threshold = float(np.clip(found.value, least, most))
    alerted, known = units.score >= threshold, units.label >= 0
    fraud = units.label == 1
    return Proposal(
        tenant, alerting.kind, alerting.level, threshold,
        reached=found.reached and found.value <= most,
        expected=None if np.isnan(found.expected) else found.expected,
        days=past.days,
        accounts_a_day=float(alerted.sum()) / past.days,
        accounts_a_day_fixed=float((units.score >= policy.levels[alerting.level]).sum()) / past.days,
        labelled=int(known.sum()),
        precision=_share(fraud & alerted, known & alerted),
        recall=_share(fraud & alerted, fraud),
    )  # fmt: skip


def _found(units: Units, days: float, alerting: Alerting, policy: TenantPolicy) -> Threshold:
    if alerting.budget is not None:
        scale = Scale(alerting, policy.levels)
        work = np.array([scale.work_of(score) for score in units.score.tolist()])
        return for_budget(units.score, work, days, alerting.budget.per_day)
    if alerting.precision is not None:
        return for_precision(units.score, units.label, alerting.precision, alerting.confidence)
    assert alerting.costs is not None
    known = units.label >= 0
    if not known.any():
        return Threshold(policy.levels[alerting.level], False, np.nan)
    return for_costs(units.score[known], units.label[known].astype(np.float64), units.amount[known], alerting.costs)


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
    return float(some.sum()) / float(of.sum()) if of.any() else None
