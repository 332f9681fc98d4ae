"""The key of an entity in every graph engine."""

from __future__ import annotations

from graph.store import EntityRef


def uid_of(ref: EntityRef) -> str:
    """Unambiguous key of an entity: tenant and kind carry their lengths, the id takes the rest."""
    return uid_prefix(ref.tenant, ref.kind) + ref.id


def uid_prefix(tenant: str, kind: str) -> str:
    """What the keys of all entities of a tenant and kind begin with. Lengths in characters."""
    return f"{len(tenant)}:{tenant}{len(kind)}:{kind}"
