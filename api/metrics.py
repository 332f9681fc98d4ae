"""The meters as Prometheus metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.meters import SHOWN_MS, Histogram
from api.served import Served
from roles.metrics import role_metrics


def registry_of(here: Served) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Meters(here))
    return registry


class _Meters(Collector):
    """Reads the meters when asked; counting costs the requests nothing."""

    def __init__(self, here: Served) -> None:
        self._here = here

    def collect(self) -> Iterable[Metric]:
        yield from self._latency()
        yield from self._counts()
        yield from self._gauges()
        if self._here.roles:
            yield from role_metrics(self._here.roles)

    def _latency(self) -> Iterable[Metric]:
        meters = self._here.meters
        score = HistogramMetricFamily("ringwatch_score_seconds", "POST /v1/score, head to answer")
        score.add_metric([], _buckets(meters.latency), meters.latency.sum_ms / 1e3)
        yield score
        stages = HistogramMetricFamily("ringwatch_stage_seconds", "A micro-batch's time by stage", labels=["stage"])
        for stage, found in sorted(meters.stages.items()):
            stages.add_metric([stage], _buckets(found), found.sum_ms / 1e3)
        yield stages
        under = CounterMetricFamily("ringwatch_sla_under_50ms", "POST /v1/score answered in under 50 ms")
        under.add_metric([], meters.under_sla)
        yield under

    def _counts(self) -> Iterable[Metric]:
        meters = self._here.meters
        requests = CounterMetricFamily("ringwatch_requests", "Requests", labels=["route", "status"])
        for (route, status), n in sorted(meters.requests.items()):
            requests.add_metric([route, str(status)], n)
        yield requests
        refusals = CounterMetricFamily("ringwatch_refusals", "Problems given, of a batch one an item", labels=["code"])
        for code, n in sorted(meters.refusals.items()):
            refusals.add_metric([code], n)
        yield refusals
        decisions = CounterMetricFamily("ringwatch_decisions", "Events scored", labels=["level", "action"])
        for (level, action), n in sorted(meters.decisions.items()):
            decisions.add_metric([level, action], n)
        yield decisions

    def _gauges(self) -> Iterable[Metric]:
        here, engine = self._here, self._here.engine
        yield _gauge("ringwatch_queue_depth", "Items waiting or being scored", engine.depth)
        yield _gauge("ringwatch_ready", "1 when events are taken", int(engine.alive))
        yield _gauge("ringwatch_degraded", "How many things are not as they should be", len(here.degraded()))
        yield _gauge("ringwatch_uptime_seconds", "Since the start", here.clock() - here.meters.started_s)
        thresholds = GaugeMetricFamily(
            "ringwatch_alert_threshold", "Least score of an alert, where learned", labels=["tenant"]
        )
        over = GaugeMetricFamily(
            "ringwatch_alert_budget_exceeded", "Work undone above a day's budget", labels=["tenant"]
        )
        for status in engine.glance.alerting:
            thresholds.add_metric([status.tenant], status.threshold)
            over.add_metric([status.tenant], status.over_by)
        if engine.glance.alerting:
            yield thresholds
            yield over
        if engine.glance.ring_age_s is not None:
            yield _gauge("ringwatch_ring_age_seconds", "Ring data behind the newest event", engine.glance.ring_age_s)
        if engine.glance.snapshots:
            stall_ms, took_ms = engine.glance.snapshots[-1]
            yield _gauge("ringwatch_snapshot_seconds", "The last snapshot", took_ms / 1e3)
            yield _gauge("ringwatch_snapshot_stall_seconds", "Scoring stood still for it", stall_ms / 1e3)
        for name, value in sorted(engine.glance.state.items()):
            yield _gauge(f"ringwatch_state_{name}", "Of the state store", value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _buckets(found: Histogram) -> list[tuple[str, float]]:
    return [(str(ms / 1e3), float(found.at_most(ms))) for ms in SHOWN_MS] + [("+Inf", float(found.total))]
