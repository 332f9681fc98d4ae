"""Labels and relationship types of entity kinds in Neo4j.

A label may be a parameter of a statement (`SET e:$($label)`); the type of a relationship that is merged may not without
costing the plan (Neo4j 5.26 scans all relationships then). So a statement on links is written with the type `LINKED`, and
made for a kind by putting a checked name in its place.
"""

from __future__ import annotations

import re

from ringwatch.errors import BadInput

LINKED = "LINKED"
"""Stands for the type of a link in a statement of `cypher/neo4j`."""
TAKEN = frozenset(("Entity", "Applied", "Migration", "Ring", "Alert"))
"""Labels of what is no kind."""
TYPES = {"ip": "FROM_IP", "merchant": "AT_MERCHANT"}
"""Kinds a user does not use."""
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


def label_of(kind: str) -> str:
    """`bank_account` -> `BankAccount`; a kind named like a label of our own gets `Kind` behind it."""
    label = "".join(part[:1].upper() + part[1:] for part in kind.split("_"))
    return f"{label}Kind" if label in TAKEN or not label else label


def type_of(kind: str) -> str:
    """Type of a link to an entity of a kind: `bank_account` -> `USED_BANK_ACCOUNT`. Raises `BadInput` for a kind that is no name."""
    if not _KIND.fullmatch(kind):
        raise BadInput(
            f"kind {kind!r} cannot name a link",
            hint="a kind is lower-case letters, digits and _, 32 at most",
            kind=kind,
        )
    return TYPES.get(kind, f"USED_{kind.upper()}")


def typed(text: str, kind: str) -> str:
    """A statement on links, made for the links to a kind."""
    return re.sub(rf"\b{LINKED}\b", type_of(kind), text)
