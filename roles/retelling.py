"""Alerts that no one was told of: over HTTP a decision is out before its alert is known to be, and the process may end in between.

Bringing memory back groups the decisions again, into the same alerts; those events whose joining is not on the alerts topic are told.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bus.clients import BusSettings, producer
from bus.messages import AlertMessage, DecisionMessage, LabelMessage, decode_alert
from bus.topic_log import TopicLog
from bus.topics import Topics
from ingest.keeper import Followed
from ringwatch.model import DAY_US, Alert
from roles.emitter import Emitter
from roles.outgoing import alert_messages

_TELL_S = 30.0


class AlertsLog(TopicLog[AlertMessage]):
    def __init__(self, bus: BusSettings, topic: str) -> None:
        super().__init__(bus, topic, decode_alert, lambda m: m.updated_us)

    def events(self, since_us: int) -> set[tuple[str, str]]:
        """(tenant, event id) of what was told since then, by the wall clock in microseconds, and some before."""
        return {(m.tenant, event_id) for _, _, m in self.read_since(since_us) for event_id in m.event_ids}


class Untold:
    """Collects what a replay groups. Decisions over a day old (`now_us`, by the wall clock) are left as they are: who is told of an alert
    acts on it."""

    def __init__(self, now_us: int) -> None:
        self._since_us = now_us - DAY_US
        self._alerts: dict[str, Alert] = {}
        self._joined: dict[tuple[str, str], str] = {}
        """(tenant, event id), in order -> the alert."""
        self.first_us = now_us
        """When the first of the decisions was made."""

    def take(self, messages: Sequence[DecisionMessage | LabelMessage], followed: Followed) -> None:
        decided = [m for m in messages if isinstance(m, DecisionMessage)]
        young = {(m.tenant, m.event_id): m.decided_us for m in decided if m.decided_us >= self._since_us}
        for alert in followed.alerts:
            for event_id in followed.joined[alert.alert_id]:
                if (at_us := young.get((alert.tenant, event_id))) is not None:
                    self._alerts[alert.alert_id] = alert
                    self._joined[alert.tenant, event_id] = alert.alert_id
                    self.first_us = min(self.first_us, at_us)

    def tell(self, log: AlertsLog, bus: BusSettings, topics: Topics) -> int:
        """Each alert with events that no alert was told with, once, as it is now. Returns how many alerts. Raises Unavailable.

        It goes by events: an event adds to one alert only, and a replay in another order (of what was decided in one order and went out
        in another) may found the alert with another event, under another id."""
        told = log.events(self.first_us) if self._joined else set()
        left: dict[str, tuple[str, ...]] = {}
        for (tenant, event_id), alert_id in self._joined.items():
            if (tenant, event_id) not in told:
                left[alert_id] = (*left.get(alert_id, ()), event_id)
        new = frozenset(i for i, events in left.items() if self._alerts[i].first_event_id in events)
        if left:
            emitter = Emitter(lambda: producer(bus), topics.decisions)
            try:
                out = alert_messages(topics, [self._alerts[i] for i in left], left, new, time.time_ns() // 1000)
                emitter.emit(out).result(_TELL_S)
            finally:
                emitter.close()
        return len(left)
