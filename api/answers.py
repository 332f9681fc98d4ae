"""What answers look like: the bodies of the REST API, as values whose JSON Schema goes into the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec

from api.problems import Problem
from rings.ring import Ring, RingSummary
from ringwatch.model import Alert, Assessment, Event


class About(msgspec.Struct, kw_only=True):
    """What every answer says of itself."""

    timing_us: dict[str, float]
    """stage -> microseconds."""
    degraded: list[str]
    """What is not as it should be; empty when all is well."""
    ring_age_s: float | None = None
    """How far the ring data lies behind the newest event."""


class Result(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One item of a batch: an assessment or the problem with it."""

    status: int
    assessment: Assessment | None = None
    problem: Problem | None = None


class ScoredBatch(About, kw_only=True):
    """Results in the order of the items."""

    results: list[Result]


class Receipt(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One item of what was sent: taken, or the problem with it."""

    status: int
    event_id: str = ""
    problem: Problem | None = None


class Accepted(About, kw_only=True):
    """What was taken lies in the ledger, on disk, when this is sent."""

    accepted: int
    results: list[Receipt]


class AlertPage(About, kw_only=True):
    """Newest last event first."""

    alerts: list[Alert]
    next: str | None
    """Cursor of the next page; null at the end. A page may be shorter than asked for and still have one."""


class AlertEvent(msgspec.Struct, kw_only=True):
    """An event of an alert: what came in, what was known, what was decided and why."""

    event: Event
    features: dict[str, float]
    """By name; missing ones are left out."""
    assessment: Assessment


class AlertDetail(About, kw_only=True):
    alert: Alert
    events: list[AlertEvent]
    """In order of time, at most 100; the first and the highest scored are among them."""
    query: str
    """Cypher that opens the alert's picture in Neo4j Browser."""


class AssessmentDetail(About, kw_only=True):
    event: Event
    features: dict[str, float]
    assessment: Assessment


class RingPage(About, kw_only=True):
    """Highest risk first."""

    rings: list[RingSummary]


class RingDetail(About, kw_only=True):
    ring: Ring
    alerts: list[Alert]
    """Alerts about the ring, newest first, at most 50."""


class Health(msgspec.Struct):
    status: str


class Ready(msgspec.Struct):
    ready: bool
    degraded: list[str]


class Sla(msgspec.Struct):
    """The scoring latency against its limit, since the start and over the last minute."""

    limit_ms: float
    requests: int
    under_limit: int
    share_under_limit: float | None
    window_s: float
    window_requests: int
    window_p50_ms: float | None
    window_p99_ms: float | None


class StatusBody(About, kw_only=True):
    version: str
    uptime_s: float
    tenant: str
    keys_needed: bool
    alive: bool
    queue_depth: int
    queue_capacity: int
    sla: Sla
    counts: dict[str, int]
    """Of the tenant: assessments, alerts, labels, and alerts by level."""
    snapshot_ms: list[float]
    """The last snapshots, written behind the scoring."""
    snapshot_stall_ms: list[float]
    """How long scoring stood still for each."""
    models: dict[str, str]
    """Learned models that serve, champion and challenger by id, a network that does not answer yet in brackets; "none" where there is none,
    and the robust rule makes the score."""
    troubles: list[str]
    rings: dict[str, Any]
    """Of the ring keeper, all tenants together, for keys that may `operate`; else empty."""
    totals: dict[str, dict[str, int]] | None = None
    """Of all tenants together, for keys that may `operate`: state, graph, ledger."""
