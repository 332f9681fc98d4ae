"""Rings and alerts written as nodes of Neo4j: `(:User)-[:MEMBER_OF]->(:Ring)-[:SHARES]->(:Device)`, `(:Alert)-[:ABOUT]->(:User)`.

They may come before the entities they name. Such an entity is made with its key and no times, which no read of entities
sees; the batch that brings it completes it. Each ring and alert is locked before its state is compared, and locks are
taken in sorted order, so several may write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from graph.neo4j_connection import Statements
from graph.neo4j_names import label_of
from graph.neo4j_rows import Params
from graph.shown import ACCOUNTS_SHOWN, EntityKey, RingShown
from graph.uid import uid_prefix
from ringwatch.model import Alert

Ref = tuple[str, str, str]
"""tenant, kind, id"""
_T = TypeVar("_T")


def ring_uid(tenant: str, ring_id: str) -> str:
    return uid_prefix(tenant, "ring") + ring_id


def alert_uid(tenant: str, alert_id: str) -> str:
    return uid_prefix(tenant, "alert") + alert_id


def write_rings(statements: Statements, rings: Sequence[RingShown]) -> None:
    current = _claimed(
        statements, "claim_rings", [(ring_uid(ring.tenant, ring.ring_id), ring.version, ring) for ring in rings]
    )
    if not current:
        return
    members = {uid: [(r.tenant, "user", m.user, m.joined_us) for m in r.members] for uid, r in current.items()}
    shared = {uid: [(r.tenant, kind, id_) for kind, id_ in r.shared] for uid, r in current.items()}
    _stubs(statements, [*(m[:3] for of in members.values() for m in of), *(e for of in shared.values() for e in of)])
    statements.run("write_rings", rows=[_ring_row(uid, ring) for uid, ring in current.items()])
    left = [{"uid": uid, "members": [_uid(m[:3]) for m in of]} for uid, of in members.items()]
    statements.run("write_left_members", rows=left)
    statements.run(
        "write_members",
        rows=[{"ring": uid, "user": _uid(m[:3]), "joined": m[3]} for uid, of in members.items() for m in sorted(of)],
    )
    statements.run(
        "write_left_shared", rows=[{"uid": uid, "shared": [_uid(e) for e in of]} for uid, of in shared.items()]
    )
    statements.run(
        "write_shared", rows=[{"ring": uid, "entity": _uid(e)} for uid, of in shared.items() for e in sorted(of)]
    )


def write_alerts(statements: Statements, alerts: Sequence[Alert], about: Mapping[str, Sequence[EntityKey]]) -> None:
    current = _claimed(
        statements, "claim_alerts", [(alert_uid(alert.tenant, alert.alert_id), alert.events, alert) for alert in alerts]
    )
    if not current:
        return
    named = {uid: sorted(_entities_of(alert, about.get(alert.alert_id, ()))) for uid, alert in current.items()}
    _stubs(statements, (ref for refs in named.values() for ref in refs))
    statements.run("write_alerts", rows=[_alert_row(uid, alert) for uid, alert in current.items()])
    statements.run(
        "write_about", rows=[{"alert": uid, "entity": _uid(ref)} for uid, refs in named.items() for ref in refs]
    )
    rings = [{"alert": uid, "ring": ring_uid(a.tenant, a.ring)} for uid, a in current.items() if a.ring]
    if rings:
        statements.run("write_about_rings", rows=rings)


def _claimed(statements: Statements, claim: str, told: Iterable[tuple[str, int, _T]]) -> dict[str, _T]:
    """`told` are (uid, version, state): uid -> its newest state, of those whose node, now locked, has no newer one."""
    newest: dict[str, tuple[int, _T]] = {}
    for uid, version, state in told:
        if uid not in newest or version >= newest[uid][0]:
            newest[uid] = version, state
    claimed = statements.run(claim, uids=sorted(newest), limit=len(newest))
    return {row["uid"]: newest[row["uid"]][1] for row in claimed if row["version"] <= newest[row["uid"]][0]}


def _entities_of(alert: Alert, further: Sequence[EntityKey]) -> set[Ref]:
    own = [] if alert.kind in ("ring", "event") else [(alert.kind, alert.entity)]
    accounts = [("user", account) for account in alert.accounts[:ACCOUNTS_SHOWN]]
    return {(alert.tenant, kind, id_) for kind, id_ in (*own, *accounts, *further)}


def _stubs(statements: Statements, refs: Iterable[Ref]) -> None:
    """Entities that are not there yet, by their keys."""
    groups: dict[tuple[str, str], set[str]] = {}
    for tenant, kind, id_ in refs:
        groups.setdefault((tenant, kind), set()).add(id_)
    for (tenant, kind), ids in sorted(groups.items()):
        named = {"prefix": uid_prefix(tenant, kind), "label": label_of(kind), "tenant": tenant, "kind": kind}
        statements.run("write_stubs", **named, ids=sorted(ids))


def _ring_row(uid: str, ring: RingShown) -> Params:
    properties = {
        "tenant": ring.tenant, "ring_id": ring.ring_id, "status": ring.status, "version": ring.version,
        "risk": ring.risk, "users": ring.users, "first_seen": ring.first_us, "last_seen": ring.last_us,
        "amount": ring.amount_minor, "patterns": None if ring.patterns is None else list(ring.patterns),
    }  # fmt: skip
    known = {name: value for name, value in properties.items() if value is not None}
    return {"uid": uid, "properties": known, "first": ring.first_us, "last": ring.last_us}


def _alert_row(uid: str, alert: Alert) -> Params:
    properties = {
        "tenant": alert.tenant, "alert_id": alert.alert_id, "level": alert.level, "score": alert.score,
        "reason": alert.reason, "text": alert.text, "kind": alert.kind, "entity": alert.entity, "events": alert.events,
        "first_seen": alert.first_at_us, "last_seen": alert.last_at_us, "amount": alert.amount_minor,
        "patterns": list(alert.patterns), "ring": alert.ring,
    }  # fmt: skip
    return {"uid": uid, "properties": properties, "first": alert.first_at_us, "last": alert.last_at_us}


def _uid(ref: Ref) -> str:
    tenant, kind, id_ = ref
    return uid_prefix(tenant, kind) + id_
