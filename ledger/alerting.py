"""Alerts: assessments worth a person's time, grouped so that one thing going on is one alert.

An event at or above the least level joins the open alert of its tenant, its strongest reason and that reason's entity (else
its user, else itself) when the group's last event is within the window; otherwise it founds a new alert. One event adds
to one alert only: several reasons for one action are one piece of work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np

from ringwatch.model import Alert, Event, Level, Reason
from scorers.decision import Decisions

Key = tuple[str, str, str, str]
"""tenant, kind, entity, reason code."""
_FORGET_ABOVE = 10_000


class AlertGrouper:
    """Groups events into alerts, in order; how the decisions are cut into batches changes nothing."""

    def __init__(self, window_us: int, min_level: Level = Level.MEDIUM) -> None:
        self.window_us = window_us
        self._min_level = min_level
        self._open: dict[Key, Alert] = {}
        self._now_us: int | None = None

    @property
    def memory_us(self) -> int:
        """How long after its last event a group is remembered, so that late events find it."""
        return 2 * self.window_us

    def restore(self, open_alerts: Iterable[Alert], now_us: int) -> None:
        """Continue with the alerts whose last event lies within `memory_us` of `now_us`, the newest event time."""
        self._now_us = now_us
        for alert in sorted(open_alerts, key=lambda a: (a.last_at_us, a.alert_id)):
            self._open[_key_of(alert)] = alert

    def add(self, decisions: Decisions) -> tuple[list[Alert], list[tuple[str, str]]]:
        """Alerts that are new or changed, whole, and the (alert_id, event_id) pairs added."""
        changed: dict[str, Alert] = {}
        pairs: list[tuple[str, str]] = []
        if not len(decisions):
            return [], []
        times = np.fromiter((e.at_us for e in decisions.events), np.int64, len(decisions))
        now = np.maximum.accumulate(times if self._now_us is None else np.maximum(times, self._now_us))
        for row in np.flatnonzero(decisions.level >= int(self._min_level)).tolist():
            event = decisions.events[row]
            level = Level(int(decisions.level[row]))
            self._now_us = int(now[row])
            alert = self._join(event, decisions.reasons[row], float(decisions.score[row]), level)
            changed[alert.alert_id] = alert
            pairs.append((alert.alert_id, event.event_id))
        self._now_us = int(now[-1])
        if len(self._open) > _FORGET_ABOVE:
            self._open = {k: a for k, a in self._open.items() if self._now_us - a.last_at_us <= self.memory_us}
        return list(changed.values()), pairs

    def _join(self, event: Event, reasons: Sequence[Reason], score: float, level: Level) -> Alert:
        top = max(reasons, key=lambda r: r.contribution, default=None)
        key, text = _group(event, top), top.text if top else f"score {score:.2f}"
        amount = event.amount_minor or 0
        old = self._open.get(key)
        now_us = event.at_us if self._now_us is None else self._now_us
        if old is None or event.at_us - old.last_at_us > self.window_us or now_us - old.last_at_us > self.memory_us:
            alert_id = blake2b("\0".join((*key, event.event_id)).encode(), digest_size=12).hexdigest()
            alert = Alert(
                alert_id, *key, event.at_us, event.at_us, 1, score, level.name, _delivery(level), text, amount,
                event.event_id, event.event_id,
            )  # fmt: skip
        else:
            higher = score > old.score
            level = max(level, Level[old.level])
            alert = Alert(
                old.alert_id, *key,
                first_at_us=min(old.first_at_us, event.at_us),
                last_at_us=max(old.last_at_us, event.at_us),
                events=old.events + 1,
                score=max(score, old.score),
                level=level.name,
                delivery=_delivery(level),
                text=text if higher else old.text,
                amount_minor=old.amount_minor + amount,
                first_event_id=old.first_event_id,
                top_event_id=event.event_id if higher else old.top_event_id,
            )  # fmt: skip
        self._open[key] = alert
        return alert


def _key_of(alert: Alert) -> Key:
    return alert.tenant, alert.kind, alert.entity, alert.reason


def _group(event: Event, top: Reason | None) -> Key:
    code = top.code if top else "score"
    if top is not None and top.kind is not None and top.entity is not None:
        return event.tenant, top.kind, top.entity, code
    if event.user is not None:
        return event.tenant, "user", event.user, code
    return event.tenant, "event", event.event_id, code


def _delivery(level: Level) -> Literal["now", "digest"]:
    return "now" if level >= Level.HIGH else "digest"
