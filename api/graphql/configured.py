"""How things stand and what decides: figures of the tenant, scorers with their weights, rules, models that serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import strawberry
from strawberry.types import Info

from api import reads
from api.graphql import types as t
from api.graphql.arguments import First
from api.graphql.context import bounded, context_of, described
from api.served import Served
from ingest.scoring import Scoring
from ledger.queries import AlertFilter
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US
from scorers.learned.book import NONE
from scorers.policy import TenantPolicy
from scorers.rules.book import RuleBook
from scorers.rules.rule import MODES, RuleSet

_MOST_DAYS, _MOST_RULES = 90, 200
_BANDS = (0.8, 0.5, 0.2, 0.0)


@strawberry.type(description="Alerts of a day and level")
class DayCount:
    day: str = strawberry.field(description="UTC, of the last event; YYYY-MM-DD")
    level: str = strawberry.field(description="LOW, MEDIUM, HIGH or CRITICAL")
    alerts: int = strawberry.field(description="Alerts")


@strawberry.type(description="Rings by risk")
class RingBand:
    at_least: float = strawberry.field(description="Their risk is this or more, and less than the band before")
    rings: int = strawberry.field(description="Rings of three users or more")


@strawberry.type(description="How the tenant stands")
class Stats:
    decisions: int = strawberry.field(description="Events decided and kept")
    alerts: int = strawberry.field(description="Alerts ever")
    labels: int = strawberry.field(description="Labels ever")
    ring_age_s: float | None = strawberry.field(
        description="How far the ring data lies behind it; null before the first mark"
    )
    alerts_by_day: list[DayCount] = strawberry.field(
        description="Of the days asked for, those that have any; the latest first"
    )
    rings_by_risk: list[RingBand] = strawberry.field(description="Four bands, the riskiest first")
    degraded: list[str] = strawberry.field(description="What is not as it should be now; empty: nothing")


@strawberry.type(description="Something that gives each event a value between 0 and 1")
class ScorerInfo:
    name: str = strawberry.field(description="Stands before its reasons' codes")
    version: str = strawberry.field(description="Of its code and settings")
    about: str = strawberry.field(description="What it looks for")
    weight: float = strawberry.field(description="The most it may contribute alone, by the tenant's policy")


@strawberry.type(description="A rule that people wrote")
class RuleInfo:
    id: str = strawberry.field(description="Stands in its reasons' code")
    description: str = strawberry.field(description="What it is for")
    owner: str = strawberry.field(description="Who answers for it")
    mode: str = strawberry.field(description="off, shadow, advise or act")
    types: list[str] = strawberry.field(description="Event types it looks at; empty: all")
    condition: str = strawberry.field(description="When it fires")
    score: float = strawberry.field(description="What it adds, 0 to 1")
    action: str | None = strawberry.field(
        description="The least that is done where its mode is act; null: nothing beside its score"
    )
    expires_at: str | None = strawberry.field(description="Event time from which on it is silent; null: never")


@strawberry.type(description="The rules in force")
class RulesInfo:
    version: str = strawberry.field(description="Hash of what they say; stands with every decision")
    trouble: str | None = strawberry.field(description="What is wrong with the file as it is now; null: nothing")
    total: int = strawberry.field(description="How many there are, those in no mode asked for included")
    in_force: list[RuleInfo] = strawberry.field(description="In order of their ids")


@strawberry.type(description="A trained model")
class ModelInfo:
    role: str = strawberry.field(description="champion: decides; challenger: scores beside it")
    id: str = strawberry.field(description="Name, version and hash, and what keeps its network from answering")


@strawberry.type
class ConfiguredQueries:
    @described("How the tenant stands; alerts of the `days` days up to the newest one, at most 90")
    def stats(self, info: Info[Any, Any], days: int = 14) -> Stats:
        context = context_of(info)
        if not 1 <= days <= _MOST_DAYS:
            raise BadInput(f"days is {days}", hint=f"1 to {_MOST_DAYS}", field="days")
        return _stats(context.here, context.tenant, days)

    @described("What scores events, in the order of their names")
    def scorers(self, info: Info[Any, Any]) -> list[ScorerInfo]:
        context = context_of(info)
        return context.here.engine.ask_from(_scorers(context.here.past.policy.of(context.tenant)))

    @described("The rules in force; only those of a `mode` (off, shadow, advise, act), where it is given; at most 200")
    def rules(self, info: Info[Any, Any], mode: str | None = None, first: First = 100) -> RulesInfo:
        limit = bounded(first, _MOST_RULES)
        if mode not in (None, *MODES):
            raise BadInput(f"mode is {mode!r}", hint=f"one of {', '.join(MODES)}", field="mode")
        rules, trouble = context_of(info).here.engine.ask_from(_rules)
        some = [r for r in rules.rules if mode is None or r.mode == mode][:limit]
        return RulesInfo(
            version=rules.version, trouble=trouble or None, total=len(rules.rules),
            in_force=[
                RuleInfo(
                    id=r.id, description=r.description, owner=r.owner, mode=r.mode, types=list(r.when), condition=r.condition, score=r.score,
                    action=r.action, expires_at=None if r.expires_us is None else t.time(r.expires_us),
                )
                for r in some
            ],
        )  # fmt: skip

    @described("The models that serve, the champion first; empty where the rule of the built-in scorers decides")
    def models(self, info: Info[Any, Any]) -> list[ModelInfo]:
        found = context_of(info).here.engine.glance.models
        return [ModelInfo(role=role, id=id_) for role, id_ in found.items() if id_ != NONE]


def _stats(here: Served, tenant: str, days: int) -> Stats:
    counts, glance = here.ledger.tenant_counts(tenant), here.engine.glance
    newest, _ = here.ledger.alert_page(tenant, AlertFilter(), limit=1, after=None)
    since_us = (newest[0].last_at_us // DAY_US - days + 1) * DAY_US if newest else 0
    rings = here.engine.ask_from(reads.rings_question(tenant, 3))
    bands = dict.fromkeys(_BANDS, 0)
    for ring in rings:
        bands[next(least for least in _BANDS if ring.risk >= least)] += 1
    return Stats(
        decisions=counts["assessments"], alerts=counts["alerts"], labels=counts["labels"], ring_age_s=glance.ring_age_s,
        alerts_by_day=[
            DayCount(day=t.time(day * DAY_US)[:10], level=level, alerts=n)
            for day, level, n in here.ledger.alerts_by_day(tenant, since_us)
        ],
        rings_by_risk=[RingBand(at_least=least, rings=n) for least, n in bands.items()], degraded=here.degraded(),
    )  # fmt: skip


def _scorers(policy: TenantPolicy) -> Callable[[Scoring], list[ScorerInfo]]:
    def ask(scoring: Scoring) -> list[ScorerInfo]:
        return [
            ScorerInfo(
                name=s.name, version=s.version, about=" ".join((type(s).__doc__ or "").split()), weight=policy.weight(s.name)
            )
            for s in scoring.stream.assessor.scorers
        ]  # fmt: skip

    return ask


def _rules(scoring: Scoring) -> tuple[RuleSet, str]:
    books = (getattr(s, "book", None) for s in scoring.stream.assessor.scorers)
    book = next((b for b in books if isinstance(b, RuleBook)), None)
    return (RuleSet(), "") if book is None else (book.active.rules, book.trouble)
