"""What people look for: the events of an entity, any identifier, a path between two entities. Bounded, always of one tenant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from api.cursor import read_cursor
from api.reads import MAX_TEXT, is_id, ring_question
from api.served import Served
from graph.store import EntityRef, LinkFilter, Path
from ingest.values import check_text, check_time, show, time_text
from ledger.entity_queries import EntityEvent, EventFilter, Place
from ringwatch.errors import BadInput, Unavailable
from ringwatch.model import type_names

MOST_TIMELINE, MOST_HITS, MOST_HOPS = 200, 50, 6
WAY_DEGREE, WAY_ENTITIES = 200, 2_000
"""Of a path: links an entity on it has at most, entities looked at from either end."""
_RING_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Hit:
    """Something whose identifier is the text looked for, or begins with it."""

    kind: str
    """event, alert, ring, or the kind of an entity."""
    id: str
    text: str
    """What it is, in a line."""


def span_us(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Times from texts. Raises BadInput naming the one that is wrong."""
    since_us = None if since is None else check_time(since, "since", "refuse")
    until_us = None if until is None else check_time(until, "until", "refuse")
    if since_us is not None and until_us is not None and until_us <= since_us:
        raise BadInput(f"until is {show(until, quote=True)}", hint="a time after since", field="until")
    return since_us, until_us


def known_kind(here: Served, kind: str, field: str) -> str:
    """Raises BadInput where there is no such kind."""
    known = [k.name for k in here.kinds]
    if kind not in known:
        raise BadInput(f"{field} is {show(kind, quote=True)}", hint=f"one of {', '.join(known)}", field=field)
    return kind


def event_filter(since: str | None, until: str | None, types: Sequence[str] | None) -> EventFilter:
    for name in types or ():
        if name not in type_names:
            raise BadInput(f"types has {show(name, quote=True)}", hint=f"of {', '.join(type_names)}", field="types")
    return EventFilter(*span_us(since, until), tuple(sorted(set(types or ()))))


def link_filter(
    here: Served, kinds: Sequence[str] | None, since: str | None, until: str | None, min_events: int
) -> LinkFilter:
    """Raises BadInput naming what is wrong."""
    for kind in kinds or ():
        if known_kind(here, kind, "kinds") == "user":
            raise BadInput(
                "kinds has 'user'", hint="name kinds of things: users on them are always there", field="kinds"
            )
    if not 1 <= min_events < 2**31:
        raise BadInput(f"minEvents is {min_events}", hint="1 or more", field="minEvents")
    return LinkFilter(None if kinds is None else tuple(sorted(set(kinds))), *span_us(since, until), min_events)


def path(here: Served, tenant: str, start: tuple[str, str], end: tuple[str, str], max_hops: int) -> Path | None:
    """Between two entities (kind, id). Raises BadInput naming what is wrong, NotFound where the graph does not know an end."""
    if here.graph is None:
        raise no_graph()
    if not 1 <= max_hops <= MOST_HOPS:
        raise BadInput(f"maxHops is {max_hops}", hint=f"1 to {MOST_HOPS}", field="maxHops")
    for (kind, id_), name in ((start, "from"), (end, "to")):
        known_kind(here, kind, f"{name}Kind")
        if not is_id(id_):
            raise BadInput(f"{name}Id is {show(id_, quote=True)}", hint="the whole id of an entity", field=f"{name}Id")
    ends = EntityRef(tenant, *start), EntityRef(tenant, *end)
    return here.graph.path(*ends, max_hops=max_hops, degree_cap=WAY_DEGREE, limit=WAY_ENTITIES)


def no_graph() -> Unavailable:
    return Unavailable("there is no graph here", hint="RINGWATCH_GRAPH_URL is none:", retry_after_s=60.0)


@dataclass(frozen=True, slots=True)
class EventsFound:
    """A page of events."""

    events: list[EntityEvent]
    more: Place | None
    """Where the next page begins; None at the end."""
    question: list[Any]
    """What the cursors of places belong to."""


def timeline(
    here: Served, tenant: str, entity: tuple[str, str], wanted: EventFilter, *, first: int, after: str | None
) -> EventsFound:
    """Events of an entity (kind, id), newest first."""
    question = ["timeline", tenant, *entity, wanted.since_us, wanted.until_us, wanted.types]
    found, more = here.ledger.timeline(tenant, *entity, wanted, limit=first + 1, after=read_cursor(after, question))
    if len(found) > first:
        found = found[:first]
        more = found[-1].event.at_us, found[-1].event.event_id
    return EventsFound(found, more, question)


def search(here: Served, tenant: str, text: str, *, first: int) -> list[Hit]:
    """What has this identifier (or the token that stands for it), then what has one that begins with it: the nearest of each kind in turn."""
    text = check_text(text.strip(), "text", MAX_TEXT)
    tokens = [(k.name, token) for k in here.kinds if (token := here.intake.token(tenant, k.name, text)) != text]
    whole = {text, *(token for _, token in tokens)}
    by_token = [Hit(*thing, "") for thing in here.ledger.last_events(tenant, tokens)]
    ranked = [
        (hit.id not in whole, rank, order, hit)
        for order, hits in enumerate([by_token, *_hits(here, tenant, text, first)])
        for rank, hit in enumerate(hits)
    ]
    nearest = sorted(ranked, key=lambda r: r[:3])[:first]
    last = here.ledger.last_events(tenant, [(hit.kind, hit.id) for *_, hit in nearest if not hit.text])
    return [Hit(hit.kind, hit.id, hit.text or _last(hit.kind, last.get((hit.kind, hit.id)))) for *_, hit in nearest]


def _hits(here: Served, tenant: str, text: str, first: int) -> Iterator[list[Hit]]:
    """Of each kind, in order of the ids. Entities are described later, when it is known which are shown."""
    kinds = [kind.name for kind in here.kinds]
    for kind, ids in here.ledger.entities_from(tenant, kinds, text, limit=first).items():
        yield [Hit(kind, id_, "") for id_ in ids]
    yield [
        Hit("alert", a.alert_id, f"alert, {a.level}, on {a.kind} {a.entity}: {a.text}")
        for a in here.ledger.alerts_from(tenant, text, limit=first)
    ]
    yield _ring(here, tenant, text)
    yield [Hit("event", x.event.event_id, _event(x)) for x in here.ledger.events_from(tenant, text, limit=first)]


def _ring(here: Served, tenant: str, text: str) -> list[Hit]:
    """Whole ids only: rings are not kept in order of their ids."""
    found = here.engine.ask_from(ring_question(tenant, text)) if _RING_ID.fullmatch(text) else None
    if found is None:
        return []
    return [Hit("ring", text, f"ring of {found.summary.users} users, risk {found.summary.risk:.2f}")]


def _event(x: EntityEvent) -> str:
    who = f" of user {x.event.user}" if x.event.user is not None else ""
    return f"{x.event.type}{who} at {time_text(x.event.at_us)}: {x.level}, {x.action}, score {x.score:.2f}"


def _last(kind: str, last: Place | None) -> str:
    return kind if last is None else f"{kind}, last in event {last[1]} at {time_text(last[0])}"
