"""What roles show of themselves, for Prometheus and for health checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from roles.role import Role


def troubles_of(roles: Sequence[Role]) -> dict[str, str]:
    """role -> what is wrong. One that is rebuilding the state, for example, is ready none the less: answers go on, degraded."""
    return {role.name: role.status.trouble for role in roles if role.status.trouble or not role.status.ready}


def role_metrics(roles: Sequence[Role]) -> Iterable[Metric]:
    ready = GaugeMetricFamily("ringwatch_role_ready", "1 when the role works", labels=["role"])
    done = CounterMetricFamily("ringwatch_role", "Things done since the start", labels=["role", "what"])
    lag = GaugeMetricFamily(
        "ringwatch_lag_records", "Records behind the end of the partition", labels=["role", "partition"]
    )
    batch = GaugeMetricFamily("ringwatch_role_batch_seconds", "Median of the last batches", labels=["role"])
    for role in roles:
        status = role.status
        ready.add_metric([role.name], int(status.ready))
        for what, n in sorted(dict(status.counts).items()):
            done.add_metric([role.name, what], n)
        for partition, n in sorted(status.lag.items()):
            lag.add_metric([role.name, partition], n)
        if times := sorted(status.batch_ms):
            batch.add_metric([role.name], times[len(times) // 2] / 1e3)
    yield from (ready, done, lag, batch)


def registry_of_roles(roles: Sequence[Role]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Roles(roles))
    return registry


class _Roles(Collector):
    def __init__(self, roles: Sequence[Role]) -> None:
        self._roles = roles

    def collect(self) -> Iterable[Metric]:
        yield from role_metrics(self._roles)
