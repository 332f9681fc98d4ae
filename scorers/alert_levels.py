"""Where levels begin now, for each tenant: as the policy fixes it, or as its `alerting` has learned on the stream.

Thresholds are set at marks of event time, each full hour, from everything before the mark, and count from the next mark on that the
stream comes to, so that other processes have them by then. What is in force is part of the version that each decision carries:
`<policy>@<MEDIUM>/<HIGH>/<CRITICAL>`, so a decision says by itself why its score made its level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel, entity_key
from ringwatch.model import DAY_US, HOUR_US, Event
from scorers.alerting import LEVELS, Alerting
from scorers.decision import Decisions
from scorers.lists import VERDICTS
from scorers.outcomes import Outcomes
from scorers.policy import Policy, TenantPolicy
from scorers.workload import Seen, Workload

Numbered = tuple[int, Applied]
OVER_BUDGET = "alert_budget"
"""In `degraded` of an event that the fixed levels would have made an alert, and the budget did not."""
_LEAST_RING = 3.0
"""Users of a ring that is one piece of work."""


class InForce(NamedTuple):
    """What counts for a tenant."""

    policy: TenantPolicy
    """With the thresholds in force as its levels."""
    version: str
    """Of the policy and, where they are not fixed, the thresholds."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a tenant's alerting stands, as of the last mark."""

    tenant: str
    kind: str
    """precision, costs or budget."""
    level: str
    threshold: float
    """Where the level begins now."""
    learned: bool
    """Whether that was learned; False as long as it is the fixed one."""
    asked: float = np.nan
    """The precision, or the work a day; NaN for costs."""
    expected: float = np.nan
    """At the threshold set last: the precision shown, the cost, the work a day; NaN where nothing is known."""
    last_day: float = np.nan
    """Work of the last whole day."""
    over_by: float = 0.0
    """By how much work undone exceeds a day's budget."""
    trouble: str = ""
    """What a person should know, in words."""


@dataclass(slots=True)
class _Tenant:
    watch: Workload | Outcomes
    now: float | None = None
    next: float | None = None
    next_us: int = 0
    """From when on the next one counts."""


class AlertLevels:
    """Learns like a `scorers.scorer.Learner`, from decisions and labels instead of features. Without any `alerting` in the policy it does
    nothing. A process that does not learn itself is told by `use`."""

    def __init__(self, policy: Policy, window_us: int = DAY_US, ring_window_us: int = 30 * DAY_US) -> None:
        """The windows are those of alerts (`ledger/alerting.py`)."""
        self.policy = policy
        self._window_us, self._ring_window_us = window_us, max(window_us, ring_window_us)
        learned = [p.alerting for p in (policy.default, *policy.tenants.values()) if p.alerting is not None]
        self.active = bool(learned)
        self._labels = any(alerting.budget is None for alerting in learned)
        self._least = min((alerting.floor for alerting in learned), default=1.0)
        self._tenants: dict[str, _Tenant] = {}
        self._in_force: dict[str, InForce] = {}
        self._mark_us: int | None = None

    # -- what counts

    def in_force(self, tenant: str) -> InForce:
        found = self._in_force.get(tenant)
        if found is None:
            policy, version = self.policy.of(tenant), self.policy.version
            if policy.alerting is not None:
                known = self._tenants.get(tenant)
                if known is not None and known.now is not None:
                    policy = msgspec.structs.replace(policy, levels=policy.alerting.at(known.now, policy.levels))
                version += "@" + "/".join(repr(policy.levels[name]) for name in LEVELS)
            found = self._in_force[tenant] = InForce(policy, version)
        return found

    def of(self, tenant: str) -> TenantPolicy:
        return self.in_force(tenant).policy

    def held_back(self, tenant: str, score: float, level: int) -> bool:
        """Whether an event would be an alert by the fixed levels, and is none by the budget."""
        fixed = self.policy.of(tenant)
        if fixed.alerting is None or fixed.alerting.budget is None:
            return False
        moved = fixed.alerting.level
        return score >= fixed.levels[moved] and level <= LEVELS.index(moved)

    def status(self) -> list[Status]:
        return [
            _status(name, known, self.policy.of(name).alerting, self.of(name))
            for name, known in sorted(self._tenants.items())
        ]

    # -- learning

    def learn(self, items: Sequence[Numbered], made: Decisions) -> None:
        """Take in events with their decisions and the labels among them, in order. `made`: of the events among the items."""
        if not self.active or self._mark_us is None:
            return
        for tenant in {e.tenant: None for e in made.events}:
            if (known := self._tenant(tenant)) is not None and isinstance(known.watch, Workload):
                known.watch.pass_by(self._mark_us)
        wanted = _Rows(made, self._least)
        row = -1
        for _, item in items if self._labels else ((0, event) for event in made.events):
            if isinstance(item, ResolvedLabel):
                self._take_label(item)
            else:
                row += 1
                if wanted.any[row]:
                    self._take_event(item, row, wanted)

    def learn_labels(self, items: Sequence[Numbered]) -> None:
        """Of labels alone, before the next event's mark."""
        if self._labels:
            for _, item in items:
                if isinstance(item, ResolvedLabel):
                    self._take_label(item)

    def _take_event(self, event: Event, row: int, rows: _Rows) -> None:
        known = self._tenant(event.tenant)
        if known is None:
            return
        made, always = rows.made, rows.always(row, known.watch.scale.level)
        score, level = float(made.score[row]), int(made.level[row])
        if always is None or (score < known.watch.scale.floor and not always):
            return
        about = ("event", event.event_id) if event.user is None else ("user", event.user)
        account = entity_key(event.tenant, *about)
        if isinstance(known.watch, Outcomes):
            id_ = entity_key(event.tenant, "event", event.event_id)
            known.watch.see(id_, account, event.at_us, score, float(event.amount_minor or 0), always)
            return
        piece, until_us = account, event.at_us + self._window_us
        if (ring := made.ring_id(row)) is not None:
            ring_piece = entity_key(event.tenant, "ring", ring)
            if (made.patterns[row] and rows.ring_users[row] >= _LEAST_RING) or known.watch.is_open(
                ring_piece, event.at_us
            ):
                piece, until_us = ring_piece, event.at_us + self._ring_window_us
        known.watch.see(Seen(piece, event.at_us, until_us, score, always, level))

    def _take_label(self, item: ResolvedLabel) -> None:
        label = item.label
        known = self._tenants.get(label.tenant)
        if known is not None and isinstance(known.watch, Outcomes):
            target = entity_key(label.tenant, label.target_kind, label.target_id)
            known.watch.label(label.target_kind, target, label.label == "fraud")

    def _tenant(self, tenant: str) -> _Tenant | None:
        known = self._tenants.get(tenant)
        if known is None:
            policy = self.policy.of(tenant)
            if policy.alerting is None:
                return None
            kind = Outcomes if policy.alerting.budget is None else Workload
            known = self._tenants[tenant] = _Tenant(kind(policy.alerting, policy.levels))
        return known

    # -- marks

    @property
    def next_mark_us(self) -> int | None:
        """As of a `Learner`."""
        return None if self._mark_us is None else self._mark_us + HOUR_US

    def advance(self, at_us: int) -> None:
        mark_us = at_us // HOUR_US * HOUR_US
        if self._mark_us is not None:
            self._step(mark_us)
        self._mark_us = mark_us
        self._in_force.clear()

    def _step(self, mark_us: int) -> None:
        for known in self._tenants.values():
            _come(known, mark_us)
            threshold = known.watch.threshold(mark_us)
            if threshold is not None:
                known.next, known.next_us = threshold, mark_us + HOUR_US

    # -- keeping

    def dump(self) -> dict[str, NDArray[Any]]:
        names = sorted(self._tenants)
        arrays = {"mark": np.array([-1 if self._mark_us is None else self._mark_us], np.int64), **self._set(names)}
        for i, name in enumerate(names):
            arrays |= {f"{i}/{key}": array for key, array in self._tenants[name].watch.dump().items()}
        return arrays

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        mark_us = int(arrays["mark"][0])
        self._mark_us = None if mark_us < 0 else mark_us
        self._tenants = {}
        self._take_set(arrays)
        for i, name in enumerate(_names(arrays)):
            if (known := self._tenants.get(name)) is not None:
                known.watch.load({k.removeprefix(f"{i}/"): a for k, a in arrays.items() if k.startswith(f"{i}/")})

    def model(self) -> dict[str, NDArray[Any]]:
        """The thresholds set, for processes that do not learn; empty before there are any."""
        names = sorted(name for name, known in self._tenants.items() if known.now is not None or known.next is not None)
        return self._set(names) if names else {}

    def use(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `model` gave elsewhere; a threshold whose time has come counts at once."""
        self._take_set(arrays)
        if self._mark_us is not None:
            for known in self._tenants.values():
                _come(known, self._mark_us)
        self._in_force.clear()

    def _set(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        known = [self._tenants[name] for name in names]
        values = [(np.nan if k.now is None else k.now, np.nan if k.next is None else k.next) for k in known]
        return {
            "names": np.frombuffer(msgspec.json.encode(names), np.uint8),
            "set": np.array(values, np.float64).reshape(len(names), 2),
            "next_us": np.array([k.next_us for k in known], np.int64),
        }

    def _take_set(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Of tenants whose thresholds are still learned, as far as they still lie within what the policy allows."""
        for name, (now, coming), next_us in zip(
            _names(arrays), arrays["set"].tolist(), arrays["next_us"].tolist(), strict=True
        ):
            known, policy = self._tenant(name), self.policy.of(name)
            if known is None or policy.alerting is None:
                continue
            least, most = policy.alerting.floor, policy.levels[policy.alerting.always]
            known.now = now if least <= now <= most else None
            known.next, known.next_us = (coming if least <= coming <= most else None), next_us
        self._in_force.clear()


def thresholds_of(version: str) -> tuple[float, ...] | None:
    """The thresholds in force (MEDIUM, HIGH, CRITICAL) that a decision's policy version names; None where they are the policy's own."""
    _, learned, values = version.partition("@")
    return tuple(float(value) for value in values.split("/")) if learned else None


def _come(known: _Tenant, mark_us: int) -> None:
    """What was set comes into force if its time is there."""
    if known.next is not None and known.next_us <= mark_us:
        known.now, known.next = known.next, None


_thresholds_of = lru_cache(4096)(thresholds_of)


class _Rows:
    """What a batch of decisions says of each event, besides its columns."""

    def __init__(self, made: Decisions, least: float) -> None:
        """`least`: the lowest floor of all."""
        self.made = made
        names = made.scorer_names
        nothing = np.full(len(made), np.nan)
        self._listed, self._rules = (
            made.scores[:, names.index(name)] if name in names else nothing for name in ("listed", "rules")
        )
        self.any: NDArray[np.bool_] = (made.score >= least) | (made.level > 0)
        self.ring_users = made.features[:, made.schema.index["ring.users"]]

    def always(self, row: int, level: int) -> bool | None:
        """Whether it is an alert at any threshold: a pattern named, a block or watch list, a rule that acts (which puts the score on the threshold
        itself). None where it is none at any: on the allow list."""
        made = self.made
        if self._listed[row] == VERDICTS["allow"]:
            return None
        if made.patterns[row] or self._listed[row] > VERDICTS["allow"]:
            return True
        in_force = _thresholds_of(made.versions[row].policy) or ()
        return bool(self._rules[row] > 0.0 and float(made.score[row]) in in_force and made.level[row] >= level)


def _status(name: str, known: _Tenant, alerting: Alerting | None, policy: TenantPolicy) -> Status:
    assert alerting is not None
    watch, level = known.watch, alerting.level
    status = Status(name, alerting.kind, level, policy.levels[level], known.now is not None)
    if isinstance(watch, Workload):
        unit = "" if alerting.budget is None else alerting.budget.unit
        trouble = f"alert budget exceeded by {watch.over_by:.0f} {unit}" if watch.over_by > 0.0 else ""
        return replace(status, asked=watch.asked, expected=watch.expected, last_day=watch.last_day,
                       over_by=watch.over_by, trouble=trouble)  # fmt: skip
    trouble = ""
    if known.now is None:
        trouble = f"learned from {watch.labelled} labelled accounts a day, which are too few: the fixed level counts"
    elif not (watch.found.reached or np.isnan(watch.found.value)):
        trouble = (
            f"precision {alerting.precision:g} is not shown by the labels: they show {watch.found.expected:.2f} at most"
        )
    return replace(status, asked=alerting.precision or np.nan, expected=watch.found.expected, trouble=trouble)


def _names(arrays: dict[str, NDArray[Any]]) -> list[str]:
    return msgspec.json.decode(arrays["names"].tobytes(), type=list[str])
