"""What the routes and the GraphQL resolvers both read: alerts, assessments, rings. In words of the model, errors of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.answers import AlertEvent
from api.cursor import read_cursor, write_cursor
from api.engine import Engine
from api.served import Served
from desk.case import CLOSED
from desk.cases import cases_of
from explain.explanation import Explanation, explain
from explain.others import NamesOf, Sought, names_from
from explain.similar import Similar, similar
from ingest.scoring import Scoring
from ingest.values import check_time, show
from ledger.entity_queries import Place
from ledger.queries import AlertFilter, LedgerQueries
from ledger.store import StoredAssessment
from rings.ring import Ring, RingSummary
from ringwatch.errors import BadInput, NotFound
from ringwatch.model import Alert, Level

MOST_ALERTS, MOST_EVENTS, MOST_RINGS = 200, 100, 500
MAX_TEXT = 256
PEERS = 400
"""Earlier events that say what is usual."""
_COMPARED = 500
"""Earlier alerts looked at for those alike."""
_OUTCOME = {"fraud": "fraud", "good": "false_positive"}


def alert_filter(given: dict[str, str | None]) -> AlertFilter:
    """Filters from texts. Raises BadInput naming the one that is wrong."""
    for name, value in given.items():
        if value is not None and (not 0 < len(value) <= MAX_TEXT or not value.isprintable()):
            raise BadInput(
                f"{name} is {show(value, quote=True)}", hint=f"1 to {MAX_TEXT} printable characters", field=name
            )
    level, delivery = given.get("level"), given.get("delivery")
    if level is not None:
        level_of(level)
    if delivery is not None and delivery not in ("now", "digest"):
        raise BadInput(f"delivery is {show(delivery, quote=True)}", hint="now or digest", field="delivery")
    if given.get("entity") is not None and given.get("kind") is None:
        raise BadInput("entity is given without kind", hint="name the kind of the entity too", field="kind")
    return AlertFilter(
        level=level, pattern=given.get("pattern"), ring=given.get("ring"), kind=given.get("kind"),
        entity=given.get("entity"), account=given.get("account"), delivery=delivery,
        since_us=time_of(given.get("since"), "since"), until_us=time_of(given.get("until"), "until"),
    )  # fmt: skip


def level_of(name: str) -> Level:
    """Raises BadInput for a level there is not."""
    if name not in Level.__members__:
        raise BadInput(
            f"level is {show(name, quote=True)}", hint=f"one of {', '.join(Level.__members__)}", field="level"
        )
    return Level[name]


def time_of(text: str | None, name: str) -> int | None:
    """Microseconds since 1970. Raises BadInput naming the field."""
    return None if text is None else check_time(text, name, "refuse")


@dataclass(frozen=True, slots=True)
class AlertsFound:
    """A page of alerts."""

    alerts: list[Alert]
    places: list[Place]
    """Of each alert."""
    more: Place | None
    """Where the next page begins; None at the end."""
    question: list[Any]
    """What the cursors of places belong to."""


def alert_page(
    here: Served, tenant: str, wanted: AlertFilter, limit: int, after: str | None
) -> tuple[list[Alert], str | None]:
    if not 1 <= limit <= MOST_ALERTS:
        raise BadInput(f"limit is {limit}", hint=f"1 to {MOST_ALERTS}", field="limit")
    found = alerts(here, tenant, wanted, limit, after)
    return found.alerts, write_cursor(found.more, found.question)


def alerts(
    here: Served, tenant: str, wanted: AlertFilter, limit: int, after: str | None, *, severest: bool = False
) -> AlertsFound:
    """The last event first; or the highest level first, and in each the last event first."""
    question = [tenant, *(getattr(wanted, name) for name in AlertFilter.__slots__), *(["severest"] if severest else [])]
    place = read_cursor(after, question)
    if not severest:
        found, more = here.ledger.alert_page(tenant, wanted, limit=limit + 1, after=place)
        if len(found) > limit:
            found = found[:limit]
            more = found[-1].last_at_us, found[-1].alert_id
        return AlertsFound(found, [(a.last_at_us, a.alert_id) for a in found], more, question)
    found, more = _severest(here, tenant, wanted, limit, place)
    return AlertsFound(found, [(a.last_at_us, f"{a.level} {a.alert_id}") for a in found], more, question)


def _severest(
    here: Served, tenant: str, wanted: AlertFilter, limit: int, after: Place | None
) -> tuple[list[Alert], Place | None]:
    """One level after the other; one alert more than is wanted tells whether there is more."""
    begun, _, last_id = ("", "", "") if after is None else after[1].partition(" ")
    if after is not None and begun not in Level.__members__:
        raise BadInput("after is not a cursor", hint="take it from the page before", field="after")
    found: list[Alert] = []
    for level in sorted(Level, reverse=True):
        if (wanted.level not in (None, level.name)) or (after is not None and level > Level[begun]):
            continue
        place = (after[0], last_id) if after is not None and level.name == begun else None
        one = replace(wanted, level=level.name)
        some, more = here.ledger.alert_page(tenant, one, limit=limit + 1 - len(found), after=place)
        found += some
        if len(found) > limit:
            last = found[limit - 1]
            return found[:limit], (last.last_at_us, f"{last.level} {last.alert_id}")
        if more is not None:
            return found, (more[0], f"{level.name} {more[1]}")
    return found, None


def alert_of(here: Served, tenant: str, alert_id: str) -> Alert:
    found = here.ledger.alert(tenant, alert_id) if is_id(alert_id) else None
    if found is None:
        raise NotFound(f"there is no alert {show(alert_id, quote=True)}", hint="GET /v1/alerts lists them")
    return found


def stored_of(here: Served, tenant: str, event_id: str) -> StoredAssessment:
    found = here.ledger.stored(tenant, event_id) if is_id(event_id) else None
    if found is None:
        raise NotFound(f"there is no event {show(event_id, quote=True)}", hint="POST /v1/score takes it")
    return found


def decided(here: Served, tenant: str, alert_id: str | None, event_id: str | None) -> StoredAssessment | None:
    """The event that is named, or the highest scored one of an alert. Raises BadInput where not one of both is given."""
    if (alert_id is None) == (event_id is None):
        raise BadInput("alertId and eventId are both given, or neither", hint="name one of them", field="eventId")
    if alert_id is not None:
        alert = here.ledger.alert(tenant, alert_id) if is_id(alert_id) else None
        event_id = None if alert is None else alert.top_event_id
    return here.ledger.stored(tenant, event_id) if event_id is not None and is_id(event_id) else None


def explained(here: Served, then: StoredAssessment) -> Explanation:
    """Raises NotFound, Corrupt where what made the decision is not there any more."""
    peers = here.ledger.calm_before(then.assessment.tenant, then.assessment.event_id, limit=PEERS)
    return explain(here.past, then, peers, names_by(here.ledger, then.assessment.tenant))


def names_by(ledger: LedgerQueries, tenant: str) -> NamesOf:
    """Names of users by the events that they were last seen in."""

    def names_of(sought: Sequence[Sought]) -> dict[int, str]:
        users = ledger.users_at(tenant, [(one.kind, one.entity, one.at_s) for one in sought])
        return names_from(tenant, users, sought)

    return names_of


def alike(here: Served, tenant: str, then: StoredAssessment, first: int) -> list[tuple[Similar, str | None]]:
    """Alerts that had ended before an event and are like it, with what they turned out to be: the outcome of their case, else what their
    accounts and highest scored events are labelled; None where nobody has said."""
    wanted = AlertFilter(until_us=then.event.at_us)
    earlier, _ = here.ledger.alert_page(tenant, wanted, limit=_COMPARED, after=None)
    reasons = here.ledger.reasons(tenant, [a.top_event_id for a in earlier])
    found = similar(then.assessment.reasons, ((a, reasons.get(a.top_event_id, ())) for a in earlier), most=first)
    worked_on = cases_of(here.desk, tenant, [s.alert.alert_id for s in found])
    outcomes = {alert_id: case.outcome for alert_id, case in worked_on.items() if case.status == CLOSED}
    users = sorted({user for s in found for user in s.alert.accounts})
    labels = here.ledger.labels_of(tenant, "event", [s.alert.top_event_id for s in found])
    labels |= here.ledger.labels_of(tenant, "user", users)
    said: dict[tuple[str, str], set[str]] = {}
    for label in labels:
        said.setdefault((label.target_kind, label.target_id), set()).add(_OUTCOME[label.label])
    return [(s, outcomes.get(s.alert.alert_id) or _labelled(s.alert, said)) for s in found]


def _labelled(alert: Alert, said: dict[tuple[str, str], set[str]]) -> str | None:
    """Fraud where anything of it is."""
    about = ("event", alert.top_event_id), *(("user", user) for user in alert.accounts)
    found = set().union(*(said.get(one, set()) for one in about))
    return min(found, key=list(_OUTCOME.values()).index, default=None)


def alert_event(stored: StoredAssessment) -> AlertEvent:
    features = {name: value for name, value in stored.features.items() if math.isfinite(value)}
    return AlertEvent(event=stored.event, features=features, assessment=stored.assessment)


def rings_question(tenant: str, least_users: int) -> Any:
    """For `Engine.ask`: the tenant's rings, highest risk first."""

    def ask(pipeline: Scoring) -> list[RingSummary]:
        reader = pipeline.rings
        found = reader.rings(tenant, least_users=least_users) if reader is not None else ()
        return sorted(found, key=lambda r: (-r.risk, -r.users, r.ring_id))

    return ask


def summaries_question(tenant: str, ring_ids: Sequence[str]) -> Any:
    """For `Engine.ask`: lines of these rings, those that there are."""

    def ask(pipeline: Scoring) -> list[RingSummary]:
        reader = pipeline.rings
        return [] if reader is None else list(reader.summaries(tenant, ring_ids))

    return ask


def ring_question(tenant: str, ring_id: str) -> Any:
    """For `Engine.ask`: one ring, or None."""

    def ask(pipeline: Scoring) -> Ring | None:
        reader = pipeline.rings
        return reader.ring(tenant, ring_id) if reader is not None else None

    return ask


def ring_risk_of(engine: Engine) -> Callable[[str, str], float]:
    """(tenant, ring id) to its risk, 0 for a ring there is not."""

    def risk(tenant: str, ring_id: str) -> float:
        found: Ring | None = engine.ask_from(ring_question(tenant, ring_id))
        return 0.0 if found is None else found.summary.risk

    return risk


def no_ring(ring_id: str) -> NotFound:
    return NotFound(f"there is no ring {show(ring_id, quote=True)}", hint="GET /v1/rings lists them")


def is_id(text: str) -> bool:
    """Whether it can be an identifier at all: printable, so that it can be a text of the database."""
    return 0 < len(text) <= MAX_TEXT and text.isprintable()
