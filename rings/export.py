"""Rings for other programs: JSON Lines, GraphML and node-link JSON. Times are microseconds and ISO 8601, amounts minor units.

In the two graph forms a node's id is `user:<id>` or `<kind>:<id>` (`<tenant>/<ring>/...` before it where a file holds
several rings), an edge is a link, and what is known about the ring as a whole are attributes of the graph.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import networkx as nx

from rings.ring import Ring
from ringwatch.errors import BadInput, did_you_mean

FORMATS = ("jsonl", "graphml", "json")
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".graphml": "graphml",
    ".json": "json",
    ".html": "html",
    ".htm": "html",
}


def format_of(path: Path, named: str | None = None, known: Sequence[str] = FORMATS) -> str:
    """The format asked for, else the one of the file's ending."""
    form = named or _BY_SUFFIX.get(path.suffix.lower(), "")
    if form not in known:
        said = f"--format {named}" if named else f"the ending of {path}"
        raise BadInput(
            f"{said} names no format", hint=did_you_mean(form or path.suffix[1:], known, f"one of {', '.join(known)}")
        )
    return form


def encode(rings: Sequence[Ring], form: str) -> bytes:
    if form == "jsonl":
        return b"".join(json_line(ring) + b"\n" for ring in rings)
    graph = graph_of(rings)
    if form == "json":
        return json.dumps(nx.node_link_data(graph, edges="links"), indent=1, ensure_ascii=False).encode() + b"\n"
    buffer = io.BytesIO()
    nx.write_graphml_xml(_xml_safe(graph), buffer, named_key_ids=True)
    return buffer.getvalue() + b"\n"


def json_line(ring: Ring) -> bytes:
    """One object: id, tenant, risk and its parts, members, shared entities, links."""
    s = ring.summary
    return msgspec.json.encode({
        "id": s.ring_id, "tenant": s.tenant, "risk": s.risk, "patterns": s.patterns, "users": s.users, "things": s.things,
        "amount_minor": s.amount_minor, "born_us": s.born_us, "last_us": s.last_us, "founding_event": ring.founding_event,
        "settled_us": ring.settled_us, "truncated": ring.truncated, "parts": ring.parts, "members": ring.members,
        "shared": ring.shared, "links": ring.links,
    })  # fmt: skip


def graph_of(rings: Sequence[Ring]) -> nx.Graph:
    """The rings as one undirected graph; every attribute is text, a number or a truth value."""
    graph = nx.Graph()
    if len(rings) == 1:
        s = rings[0].summary
        graph.graph.update(
            ring=s.ring_id, tenant=s.tenant, risk=float(s.risk), patterns=",".join(s.patterns), amount_minor=s.amount_minor,
            users=s.users, things=s.things, born_us=s.born_us, last_us=s.last_us, born=_iso(s.born_us), last=_iso(s.last_us),
            founding_event=rings[0].founding_event, truncated=rings[0].truncated,
            risk_parts=json.dumps([[p.code, p.value, p.text] for p in rings[0].parts], ensure_ascii=False),
        )  # fmt: skip
    for ring in rings:
        _add(graph, ring, "" if len(rings) == 1 else f"{ring.summary.tenant}/{ring.summary.ring_id}/")
    return graph


def _add(graph: nx.Graph, ring: Ring, prefix: str) -> None:
    own = (
        {"ring": ring.summary.ring_id, "tenant": ring.summary.tenant, "risk": float(ring.summary.risk)}
        if prefix
        else {}
    )
    for m in ring.members:
        graph.add_node(
            f"{prefix}user:{m.user}", kind="user", entity=m.user, joined_us=m.joined_us, last_us=m.last_us, joined=_iso(m.joined_us),
            last=_iso(m.last_us), young=m.young, departed=m.departed, fraud=m.fraud, patterns=",".join(m.patterns), **own,
        )  # fmt: skip
    for t in ring.shared:
        graph.add_node(
            f"{prefix}{t.kind}:{t.entity}", kind=t.kind, entity=t.entity, users=t.users, first_us=t.first_us, last_us=t.last_us,
            first=_iso(t.first_us), last=_iso(t.last_us), verdict=t.verdict, **own,
        )  # fmt: skip
    for k in ring.links:
        graph.add_edge(
            f"{prefix}user:{k.user}", f"{prefix}{k.kind}:{k.entity}", first_us=k.first_us, last_us=k.last_us, first=_iso(k.first_us),
            last=_iso(k.last_us), events=k.events, amount_minor=k.amount_minor,
        )  # fmt: skip


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _xml_safe(graph: nx.Graph) -> nx.Graph:
    """XML cannot hold control characters at all: they are written as `\\x1b`, in ids too. Others stay as they are."""
    safe = nx.relabel_nodes(graph, {n: _text(n) for n in graph if _text(n) != n})
    for attributes in _all_attributes(safe):
        attributes.update({k: _text(v) for k, v in attributes.items() if isinstance(v, str)})
    return safe


def _all_attributes(graph: nx.Graph) -> Iterable[dict[str, Any]]:
    yield graph.graph
    yield from (attributes for _, attributes in graph.nodes(data=True))
    yield from (attributes for _, _, attributes in graph.edges(data=True))


def _text(value: str) -> str:
    if value.isprintable():
        return value
    return "".join(c if _allowed(ord(c)) else f"\\x{ord(c):02x}" for c in value)


def _allowed(code: int) -> bool:
    return code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
