"""Alerts: assessments worth a person's time, grouped so that one thing going on is one alert.

An event at or above the least level joins an open alert when the group's last event is within the window (a ring's within a
longer one: it is one piece of work as long as it lives); otherwise it founds a new one. Where a fraud pattern names something
shared in a ring of three or more, the group is the ring: one ring, one alert that grows; it goes on from the open alert of the
same reason and entity, of when the ring was a pair. An event whose accounts stand in an open alert of a ring joins it, the one
with most of them (ties: the older), so that a ring that merges, splits or changes its id is still one piece of work. Otherwise
the group is the strongest reason with its entity (else the user, else the event itself). One event adds to one alert only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Literal

import numpy as np

from ringwatch.model import Alert, Event, Level, Reason
from scorers.decision import Decisions

Key = tuple[str, str, str, str]
"""tenant, kind, entity, reason code."""
_FORGET_ABOVE = 10_000
_ACCOUNTS_KEPT = 200
_RING_USERS = 3


class AlertGrouper:
    """Groups events into alerts, in order; how the decisions are cut into batches changes nothing."""

    def __init__(self, window_us: int, ring_window_us: int = 0, min_level: Level = Level.MEDIUM) -> None:
        """`ring_window_us`: that of alerts of rings, where it is longer."""
        self.window_us = window_us
        self.ring_window_us = max(window_us, ring_window_us)
        self._min_level = min_level
        self._open: dict[Key, Alert] = {}
        self._ring_alerts: dict[tuple[str, str], set[Key]] = {}
        """(tenant, account) -> open alerts of rings it stands in."""
        self._now_us: int | None = None

    @property
    def memory_us(self) -> int:
        """How long after its last event a group is remembered, so that late events find it."""
        return 2 * self.ring_window_us

    def _window_us(self, alert: Alert) -> int:
        return self.ring_window_us if alert.kind == "ring" else self.window_us

    def empty(self) -> AlertGrouper:
        """Another one with the same windows that knows nothing."""
        return AlertGrouper(self.window_us, self.ring_window_us, self._min_level)

    def dump(self) -> tuple[int | None, list[Alert]]:
        """Newest event time and the alerts an event may still join: what `restore` takes up."""
        return self._now_us, sorted(self._open.values(), key=lambda a: (a.last_at_us, a.alert_id))

    def restore(self, open_alerts: Iterable[Alert], now_us: int) -> None:
        """Continue with the alerts whose last event lies within `memory_us` of `now_us`, the newest event time."""
        self._now_us = now_us
        for alert in sorted(open_alerts, key=lambda a: (a.last_at_us, a.alert_id)):
            self._keep(_key_of(alert), alert)

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
            alert = self._join(decisions, row, level)
            changed[alert.alert_id] = alert
            pairs.append((alert.alert_id, event.event_id))
        self._now_us = int(now[-1])
        if len(self._open) > _FORGET_ABOVE:
            now_us = self._now_us
            open_alerts = [(k, a) for k, a in self._open.items() if now_us - a.last_at_us <= 2 * self._window_us(a)]
            self._open, self._ring_alerts = {}, {}
            for key, alert in open_alerts:
                self._keep(key, alert)
        return list(changed.values()), pairs

    def _join(self, decisions: Decisions, row: int, level: Level) -> Alert:
        event, score = decisions.events[row], float(decisions.score[row])
        patterns = decisions.patterns[row]
        top = _top(decisions.reasons[row], patterns)
        text = top.text if top else f"score {score:.2f}"
        accounts = decisions.accounts[row] if decisions.accounts else ()
        if not accounts and event.user is not None:
            accounts = (event.user,)
        key = self._ring_alert_of(event, accounts) or _group(decisions, row, top)
        ring = decisions.ring_id(row) or ""
        amount = event.amount_minor or 0
        old = self._open.get(key)
        if old is None or not self._is_open(old, event):
            old = self._before_the_ring(event, key, top)
        if old is None:
            alert_id = blake2b("\0".join((*key, event.event_id)).encode(), digest_size=12).hexdigest()
            alert = Alert(
                alert_id, *key, event.at_us, event.at_us, 1, score, level.name, _delivery(level), text, amount,
                event.event_id, event.event_id, tuple(sorted(patterns)), accounts[:_ACCOUNTS_KEPT], ring,
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
                patterns=old.patterns if set(patterns) <= set(old.patterns) else tuple(sorted({*old.patterns, *patterns})),
                accounts=_joined(old.accounts, accounts),
                ring=ring or old.ring,
            )  # fmt: skip
        self._keep(key, alert)
        return alert

    def _before_the_ring(self, event: Event, key: Key, top: Reason | None) -> Alert | None:
        """The open alert that a ring's first one goes on from: of what it shares, from before it had enough accounts."""
        plain = _plain(event, top)
        found = self._open.get(plain) if key[1] == "ring" else None
        if found is None or not self._is_open(found, event):
            return None
        return self._open.pop(plain)

    def _is_open(self, alert: Alert, event: Event) -> bool:
        """Whether the event may still join."""
        now_us = event.at_us if self._now_us is None else self._now_us
        window_us = self._window_us(alert)
        return event.at_us - alert.last_at_us <= window_us and now_us - alert.last_at_us <= 2 * window_us

    def _ring_alert_of(self, event: Event, accounts: Sequence[str]) -> Key | None:
        shared: Counter[Key] = Counter()
        for account in accounts:
            shared.update(self._ring_alerts.get((event.tenant, account), ()))
        found = [(-n, self._open[k].first_at_us, k) for k, n in shared.items() if self._is_open(self._open[k], event)]
        return min(found)[2] if found else None

    def _keep(self, key: Key, alert: Alert) -> None:
        old = self._open.get(key)
        self._open[key] = alert
        if alert.kind != "ring":
            return
        if old is not None and old.alert_id != alert.alert_id:
            for account in old.accounts:
                self._ring_alerts[alert.tenant, account].discard(key)
        known = len(old.accounts) if old is not None and old.alert_id == alert.alert_id else 0
        for account in alert.accounts[known:]:
            self._ring_alerts.setdefault((alert.tenant, account), set()).add(key)


def _key_of(alert: Alert) -> Key:
    return alert.tenant, alert.kind, alert.entity, alert.reason


def _top(reasons: Sequence[Reason], patterns: Sequence[str]) -> Reason | None:
    """The strongest reason, of the strongest pattern where there is one."""
    named = [r for r in reasons if patterns and r.code.startswith(f"{patterns[0]}.")]
    told = [r for r in reasons if r.code != "others"]
    return max(named or told or reasons, key=lambda r: r.contribution, default=None)


def _group(decisions: Decisions, row: int, top: Reason | None) -> Key:
    event, ring = decisions.events[row], decisions.ring_id(row)
    users = decisions.features[row, decisions.schema.index["ring.users"]]
    if ring is not None and decisions.patterns[row] and _shared(top) and users >= _RING_USERS:
        return event.tenant, "ring", ring, "ring"
    return _plain(event, top)


def _shared(top: Reason | None) -> bool:
    return top is not None and top.kind not in (None, "user") and top.entity is not None


def _plain(event: Event, top: Reason | None) -> Key:
    """The group where rings do not count."""
    code = top.code if top else "score"
    if top is not None and top.kind is not None and top.entity is not None:
        return event.tenant, top.kind, top.entity, code
    if event.user is not None:
        return event.tenant, "user", event.user, code
    return event.tenant, "event", event.event_id, code


def _joined(old: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    new = tuple(a for a in more if a not in old)
    return old if not new else (old + new)[:_ACCOUNTS_KEPT]


def _delivery(level: Level) -> Literal["now", "digest"]:
    return "now" if level >= Level.HIGH else "digest"
