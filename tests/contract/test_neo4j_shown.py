"""Rings and alerts as nodes of Neo4j, and what a cold entity's read gives."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace
from support.graphs import Cypher, batch, entity, link, open_neo4j, ref

from graph.neo4j_store import COLD_SCAN, Neo4jGraph
from graph.shown import ENDED, MemberShown, RingShown
from graph.store import COLD_LINKS, ColdLink, GraphBatch
from graph.uid import uid_of
from ringwatch.errors import NotFound, Unavailable
from ringwatch.model import BUILTIN_KINDS, Alert
from tests.support.backends import Neo4jBackend

pytestmark = pytest.mark.backends
U1, U2, D1 = ref("user", "u1"), ref("user", "u2"), ref("device", "d1")
ALERT = Alert(
    "a1", "default", "device", "d1", "neighbourhood.shared_device", 1_000_000, 2_000_000, 3, 0.9, "HIGH", "now",
    "3 accounts on one device", 1999, "e1", "e2", ("coordinated_accounts",), ("u1", "u2"),
)  # fmt: skip
RING = RingShown(
    "default", "r1", "active", 5, 0.7, 2, 1_000_000, 9_000_000, 1999, ("coordinated_accounts",),
    (MemberShown("u1", 1_000_000), MemberShown("u2", 2_000_000)), (("device", "d1"),),
)  # fmt: skip


@pytest.fixture(scope="module")
def cypher(neo4j_server: Neo4jBackend) -> Iterator[Cypher]:
    with neo4j_server.emptied(), closing(Cypher(neo4j_server)) as opened:
        yield opened


@pytest.fixture
def graph(neo4j_server: Neo4jBackend, cypher: Cypher) -> Iterator[Neo4jGraph]:
    cypher.empty()
    with closing(open_neo4j(neo4j_server)) as opened:
        opened.prepare(BUILTIN_KINDS)
        yield opened


def members(cypher: Cypher, ring: str = "r1") -> list[str]:
    rows = cypher.rows("MATCH (u:User)-[:MEMBER_OF]->(:Ring {ring_id: $ring}) RETURN u.id AS id ORDER BY id", ring=ring)
    return [row["id"] for row in rows]


def the(cypher: Cypher, label: str) -> dict[str, Any]:
    ((row),) = cypher.rows(f"MATCH (n:{label}) RETURN properties(n) AS n")
    return dict(row["n"])


def test_a_ring_is_a_node_with_its_members_and_what_they_share(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.apply(batch(1, link(U1, D1), link(U2, D1)))
    graph.show_rings([RING])
    assert members(cypher) == ["u1", "u2"]
    assert cypher.rows("MATCH (:Ring)-[:SHARES]->(d:Device) RETURN d.id AS id") == [{"id": "d1"}]
    ring = the(cypher, "Ring")
    assert (ring["status"], ring["risk"], ring["users"], ring["patterns"]) == (
        "active",
        0.7,
        2,
        ["coordinated_accounts"],
    )
    assert ring["last_at"].iso_format().startswith("1970-01-01T00:00:09")


def test_who_left_a_ring_is_its_member_no_more(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.show_rings([RING])
    changed = replace(RING, version=6, members=(MemberShown("u2", 2), MemberShown("u3", 3)), shared=(("card", "c"),))
    graph.show_rings([changed])
    assert members(cypher) == ["u2", "u3"]
    assert cypher.rows("MATCH (:Ring)-[:SHARES]->(x) RETURN x.kind AS kind") == [{"kind": "card"}]


def test_an_older_state_of_a_ring_changes_nothing(graph: Neo4jGraph, cypher: Cypher) -> None:
    older = replace(RING, version=4, risk=0.1, members=())
    graph.show_rings([RING, older])
    graph.show_rings([older])
    graph.show_rings([RING])
    assert members(cypher) == ["u1", "u2"]
    assert the(cypher, "Ring")["risk"] == 0.7


def test_a_ring_that_ended_keeps_its_node(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.show_rings([RING])
    graph.show_rings([RingShown("default", "r1", ENDED, 9)])
    ring = the(cypher, "Ring")
    assert (ring["status"], ring["risk"], ring["users"]) == (ENDED, 0.7, 2)
    assert members(cypher) == []


def test_states_written_at_once_in_any_order_end_in_the_newest(graph: Neo4jGraph, cypher: Cypher) -> None:
    states = [
        replace(RING, version=v, risk=v / 100, members=tuple(MemberShown(f"u{u}", u) for u in range(v % 5 + 1)))
        for v in range(24)
    ]
    random.Random(1).shuffle(states)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: graph.show_rings(states[n::3]), range(3)))
    assert the(cypher, "Ring")["risk"] == 0.23
    assert members(cypher) == ["u0", "u1", "u2", "u3"]


def test_an_alert_is_a_node_about_its_accounts_and_what_they_share(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.show_rings([RING])
    graph.show_alerts([replace(ALERT, ring="r1")], {"a1": [("card", "c1")]})
    rows = cypher.rows(
        "MATCH (:Alert {alert_id: 'a1'})-[:ABOUT]->(x) RETURN coalesce(x.id, x.ring_id) AS id ORDER BY id"
    )
    assert [row["id"] for row in rows] == ["c1", "d1", "r1", "u1", "u2"]
    alert = the(cypher, "Alert")
    assert (alert["level"], alert["score"], alert["events"], alert["amount"]) == ("HIGH", 0.9, 3, 1999)
    assert alert["text"] == "3 accounts on one device"


def test_an_alert_that_grew_is_not_overwritten_by_its_past(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.show_alerts([replace(ALERT, events=4, score=0.95, accounts=("u1", "u2", "u3")), ALERT])
    graph.show_alerts([ALERT])
    assert (the(cypher, "Alert")["events"], the(cypher, "Alert")["score"]) == (4, 0.95)
    assert len(cypher.rows("MATCH (:Alert)-[:ABOUT]->(x) RETURN x.id")) == 4


def test_showing_again_changes_nothing(graph: Neo4jGraph, cypher: Cypher) -> None:
    def content() -> list[dict[str, Any]]:
        links = "COLLECT { MATCH (n)-[l]-(x) RETURN [type(l), x.id, l.joined] ORDER BY x.id }"
        return cypher.rows(f"MATCH (n) WHERE n:Ring OR n:Alert RETURN n, {links} AS l ORDER BY n.uid")

    for _ in range(2):
        graph.show_rings([RING])
        graph.show_alerts([ALERT])
        if _ == 0:
            first = content()
    assert content() == first


def test_an_entity_shown_before_its_batch_comes_out_exact(graph: Neo4jGraph, cypher: Cypher) -> None:
    graph.show_rings([RING])
    graph.show_alerts([ALERT])
    before = graph.logical_digest()
    assert graph.counts() == {"entities": 0, "links": 0}
    assert graph.cold([U1], deadline_s=5) == {}
    with pytest.raises(NotFound):
        graph.neighbourhood(U1)
    graph.apply(GraphBatch([entity(U1, 50, last=70, events=2, amount=10, alerts=1)], [link(U1, D1, 40, last=90)], 1))
    nodes = {n.ref: n for n in graph.neighbourhood(U1).nodes}
    first, d1 = nodes[U1], nodes[D1]
    assert (first.first_seen_us, first.last_seen_us, first.events, first.amount_minor, first.alerts) == (
        40,
        90,
        2,
        10,
        1,
    )
    assert (d1.first_seen_us, d1.last_seen_us, d1.events, d1.degree) == (40, 90, 0, 1)
    assert graph.counts() == {"entities": 2, "links": 1, "entities.device": 1, "entities.user": 1}
    assert graph.logical_digest() != before
    labels = cypher.rows("MATCH (e:Entity {uid: $uid}) RETURN labels(e) AS labels", uid=uid_of(U1))
    assert [sorted(row["labels"]) for row in labels] == [["Entity", "User"]]


def test_rings_and_alerts_do_not_change_what_the_graph_says_of_entities(graph: Neo4jGraph) -> None:
    graph.apply(batch(1, link(U1, D1, 3), link(U2, D1, 4)))
    before = (graph.logical_digest(), graph.counts(), graph.neighbourhood(D1), graph.cold([D1], deadline_s=5))
    graph.show_rings([RING])
    graph.show_alerts([ALERT])
    assert (graph.logical_digest(), graph.counts(), graph.neighbourhood(D1), graph.cold([D1], deadline_s=5)) == before


def test_a_cold_entity_has_its_times_sums_and_latest_links(graph: Neo4jGraph) -> None:
    graph.apply(batch(1, *(link(ref("user", f"h{i:02}"), D1, i, last=100 + i, events=2, amount=5) for i in range(20))))
    found = graph.cold([D1, ref("user", "h07"), ref("device", "nope")], deadline_s=5)
    assert set(found) == {D1, ref("user", "h07")}
    device = found[D1]
    assert (device.first_seen_us, device.degree, len(device.links)) == (0, 20, COLD_LINKS)
    assert device.links[0] == ColdLink(ref("user", "h19"), 19, 119, 2)
    assert found[ref("user", "h07")].links == (ColdLink(D1, 7, 107, 2),)
    assert graph.cold([], deadline_s=5) == {}


def test_a_cold_read_of_a_hub_looks_at_a_bounded_number_of_links(graph: Neo4jGraph) -> None:
    for step in range(4):
        graph.apply(batch(step, *(link(ref("user", f"{step}-{i}"), D1, step) for i in range(COLD_SCAN // 2))))
    device = graph.cold([D1], deadline_s=5)[D1]
    assert device.degree == 2 * COLD_SCAN
    assert {x.other.id[:2] for x in device.links} == {"3-"}


def test_a_cold_read_never_takes_longer_than_its_deadline(graph: Neo4jGraph) -> None:
    users = [ref("user", i) for i in range(4000)]
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"graph query read_cold .*no answer within 1 ms|read_cold failed"):
        graph.cold(users, deadline_s=0.001)
    assert time.monotonic() - start < 0.5
    for _ in range(100):
        try:
            assert graph.cold([U1], deadline_s=5) == {}
            break
        except Unavailable:
            time.sleep(0.05)
    else:
        pytest.fail("reads do not come back")
