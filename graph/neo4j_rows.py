"""A graph batch as the columns Neo4j is sent: merged, sorted, and apart by tenant and kind.

Columns, not a map a row: the names of a map travel with each row and cost the driver more than the values do. Tenant,
kind and what all uids of a kind begin with travel once. Sorted, so that two writers lock entities in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graph.neo4j_names import label_of
from graph.store import EntityRef, GraphBatch, LinkUpdate
from graph.uid import uid_prefix

Params = dict[str, Any]
_FIRST, _LAST, _EVENTS, _AMOUNT, _EXTRA = range(5)
MOST = 2**63 - 1
"""What an integer of Neo4j can hold: a sum of amounts stays there, where a stop of the writer would hold up everybody."""
_Group = tuple[str, str]
"""tenant, kind"""


@dataclass(frozen=True, slots=True)
class Columns:
    entities: Sequence[Params]
    """Parameters of `write_entities`, one for each tenant and kind."""
    links: Sequence[tuple[str, Params]]
    """Kind and parameters of `write_links`."""


def columns_of(batch: GraphBatch) -> Columns:
    """Every entity the batch names, ends of links included; an end without an update has the link's times only."""
    entities: dict[_Group, dict[str, list[int]]] = {}
    links: dict[_Group, dict[tuple[str, str], list[int]]] = {}
    for e in batch.entities:
        of = entities.setdefault((e.ref.tenant, e.ref.kind), {})
        _add(of, e.ref.id, e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts)
    for x in batch.links:
        for end in (x.user, x.other):
            _widen(entities, end, x)
        between = links.setdefault((x.other.tenant, x.other.kind), {})
        _add(between, (x.user.id, x.other.id), x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails)
    return Columns(
        [_entities(*group, rows) for group, rows in sorted(entities.items())],
        [(kind, _links(tenant, kind, rows)) for (tenant, kind), rows in sorted(links.items())],
    )


def _widen(entities: dict[_Group, dict[str, list[int]]], end: EntityRef, link: LinkUpdate) -> None:
    of = entities.setdefault((end.tenant, end.kind), {})
    row = of.get(end.id)
    if row is None:
        of[end.id] = [link.first_seen_us, link.last_seen_us, 0, 0, 0]
        return
    if link.first_seen_us < row[_FIRST]:
        row[_FIRST] = link.first_seen_us
    if link.last_seen_us > row[_LAST]:
        row[_LAST] = link.last_seen_us


def _add(rows: dict[Any, list[int]], key: Any, first: int, last: int, events: int, amount: int, extra: int) -> None:
    row = rows.get(key)
    if row is None:
        rows[key] = [first, last, events, amount, extra]
        return
    row[_FIRST] = min(row[_FIRST], first)
    row[_LAST] = max(row[_LAST], last)
    row[_EVENTS] += events
    row[_AMOUNT] += amount
    row[_EXTRA] += extra


def _entities(tenant: str, kind: str, rows: dict[str, list[int]]) -> Params:
    ids = sorted(rows)
    named = {"prefix": uid_prefix(tenant, kind), "label": label_of(kind), "tenant": tenant, "kind": kind, "ids": ids}
    return named | _sums([rows[id_] for id_ in ids], "alerts")


def _links(tenant: str, kind: str, rows: dict[tuple[str, str], list[int]]) -> Params:
    """By the far end, then the user: a hub's links stand together."""
    pairs = sorted(rows, key=lambda pair: (pair[1], pair[0]))
    ends = {
        "user_prefix": uid_prefix(tenant, "user"),
        "other_prefix": uid_prefix(tenant, kind),
        "users": [user for user, _ in pairs],
        "others": [other for _, other in pairs],
    }
    return ends | _sums([rows[pair] for pair in pairs], "fails")


def _sums(rows: Sequence[list[int]], extra: str) -> Params:
    names = ("first", "last", "events", "amount", extra)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return columns | {"amount": [min(amount, MOST) for amount in columns["amount"]], "most": MOST}
