"""The key of an entity in every graph engine."""

from __future__ import annotations

from graph.store import EntityRef


def uid_of(ref: EntityRef) -> str:
    """Unambiguous key of an entity: tenant and kind carry their lengths, the id takes the rest."""
    return uid_prefix(ref.tenant, ref.kind) + ref.id


def ref_of(uid: str) -> EntityRef:
    """The entity that a key is of."""
    tenant, rest = _counted(uid)
    return EntityRef(tenant, *_counted(rest))


def _counted(text: str) -> tuple[str, str]:
    """What its length stands before, and the rest."""
    length, _, rest = text.partition(":")
    return rest[: int(length)], rest[int(length) :]


def uid_prefix(tenant: str, kind: str) -> str:
    """What the keys of all entities of a tenant and kind begin with. Lengths in characters."""
    return f"{len(tenant)}:{tenant}{len(kind)}:{kind}"
