"""What is true of the graph in Neo4j only: several writers, locks, time limits, migrations, names, cost of a hub."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.graphs import Cypher, batch, entity, link, open_ladybug, open_neo4j, ref

from cypher.load import load
from graph.neo4j_connection import Limits, Statements
from graph.neo4j_names import typed
from graph.neo4j_rows import MOST
from graph.neo4j_store import Neo4jGraph
from graph.store import GraphBatch
from graph.uid import uid_of
from ringwatch.errors import Conflict, NotFound, ServerDenied, Unavailable
from ringwatch.model import BUILTIN_KINDS
from tests.support.backends import Neo4jBackend

pytestmark = pytest.mark.backends
U1, D1, HUB = ref("user", "u1"), ref("device", "d1"), ref("ip", "hub")


@pytest.fixture(scope="module")
def cypher(neo4j_server: Neo4jBackend) -> Iterator[Cypher]:
    with neo4j_server.emptied(), closing(Cypher(neo4j_server)) as opened:
        yield opened


@pytest.fixture
def open_graph(neo4j_server: Neo4jBackend, cypher: Cypher) -> Iterator[Callable[..., Neo4jGraph]]:
    """Opens further stores on the database, which was emptied once."""
    opened: list[Neo4jGraph] = []

    def open_one(**limits: float) -> Neo4jGraph:
        opened.append(open_neo4j(neo4j_server, **limits))
        return opened[-1]

    cypher.empty()
    open_one().prepare(BUILTIN_KINDS)
    yield open_one
    for graph in opened:
        graph.close()


@pytest.fixture
def graph(open_graph: Callable[..., Neo4jGraph]) -> Neo4jGraph:
    return open_graph()


def test_two_writers_on_the_same_things_lose_nothing(open_graph: Callable[..., Neo4jGraph]) -> None:
    def write(partition: str) -> None:
        rng = random.Random(int(partition))
        graph = open_graph()
        for position in range(12):
            users = [ref("user", i) for i in range(40)]
            rng.shuffle(users)
            links = [x for user in users for x in (link(user, D1, position, amount=3), link(user, HUB, position))]
            updates = [entity(D1, position, amount=3), entity(HUB, position)]
            assert graph.apply(GraphBatch(updates, links, position, partition))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, "012"))
    near = open_graph().neighbourhood(D1, hops=1, degree_cap=100)
    assert (near.nodes[0].events, near.nodes[0].amount_minor, near.nodes[0].degree) == (36, 108, 40)
    assert {(x.events, x.amount_minor, x.first_seen_us, x.last_seen_us) for x in near.links} == {(36, 108, 0, 11)}


def test_amounts_beyond_what_an_integer_holds_stop_nobody(graph: Neo4jGraph) -> None:
    for position in range(2):
        many = [link(U1, D1, position, amount=2**53) for _ in range(1023)]
        updates = [entity(thing, position, amount=2**53) for thing in (U1, D1) for _ in range(1025)]
        assert graph.apply(GraphBatch(updates, many, position, "p"))
    near = graph.neighbourhood(D1, hops=1, degree_cap=100)
    assert {node.amount_minor for node in near.nodes} == {MOST}
    assert [x.amount_minor for x in near.links] == [MOST]
    assert graph.apply(GraphBatch([entity(U1, 2, amount=1)], [], 2, "p"))


def test_of_two_that_apply_the_same_batch_one_does(open_graph: Callable[..., Neo4jGraph]) -> None:
    graphs = [open_graph() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for position in range(15):
            step = batch(position, link(U1, D1, position, amount=10))
            applied = list(pool.map(lambda graph, step=step: graph.apply(step), graphs))
            assert sorted(applied) == [False, False, True]
    (only,) = graphs[0].neighbourhood(U1).links
    assert (only.events, only.amount_minor) == (15, 150)


def test_a_batch_that_goes_on_from_elsewhere_is_a_conflict(graph: Neo4jGraph) -> None:
    first = batch(10, link(U1, D1))
    assert graph.apply(replace(first, after=-1)) is True
    with pytest.raises(Conflict, match="is at 10, its batch up to 12 goes on from 5"):
        graph.apply(replace(first, position=12, after=5))
    assert graph.apply(replace(first, after=-1)) is False
    assert graph.apply(replace(first, position=12, after=10)) is True
    assert graph.neighbourhood(U1).links[0].events == 2


def test_a_deadlock_is_tried_again(graph: Neo4jGraph) -> None:
    graph.apply(batch(1, link(U1, D1)))
    met = threading.Barrier(2, timeout=20)
    attempts: list[str] = []

    def cross(first: str, second: str) -> None:
        waited = False

        def work(statements: Statements) -> None:
            nonlocal waited
            attempts.append(first)
            statements.run("claim_position", partition=first)
            if not waited:
                waited = True
                met.wait()
            statements.run("claim_position", partition=second)

        graph._connection.write("cross", work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cross, ("a", "b"), ("b", "a")))
    assert len(attempts) > 2


def test_a_batch_that_waits_too_long_for_a_lock_is_given_up_and_can_be_applied_later(
    open_graph: Callable[..., Neo4jGraph], cypher: Cypher
) -> None:
    graph = open_graph(write_s=1.0, retry_s=0.1)
    step = batch(1, link(U1, D1, amount=5))
    open_graph().apply(GraphBatch([entity(D1)], [], 0))
    with cypher.driver.session() as session, session.begin_transaction() as holding:
        holding.run("MATCH (e:Entity {uid: $uid}) SET e.events = 1", uid=uid_of(D1)).consume()
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"graph query apply \(write_entities\) failed at"):
            graph.apply(step)
        assert time.monotonic() - start < 15
    assert graph.apply(step) is True
    assert graph.neighbourhood(U1).links[0].amount_minor == 5


def test_a_transaction_says_what_it_does(open_graph: Callable[..., Neo4jGraph], cypher: Cypher) -> None:
    graph = open_graph(write_s=20.0)
    graph.apply(GraphBatch([entity(D1)], [], 0))
    with ThreadPoolExecutor(1) as pool:
        with cypher.driver.session() as session, session.begin_transaction() as holding:
            holding.run("MATCH (e:Entity {uid: $uid}) SET e.events = 1", uid=uid_of(D1)).consume()
            waiting = pool.submit(graph.apply, batch(1, link(U1, D1)))
            seen: list[object] = []
            for _ in range(100):
                seen = [row["metaData"] for row in cypher.rows("SHOW TRANSACTIONS YIELD metaData")]
                if {"app": "ringwatch", "query": "apply"} in seen:
                    break
                time.sleep(0.05)
        assert {"app": "ringwatch", "query": "apply"} in seen
        assert waiting.result(timeout=30) is True


def test_a_server_that_is_away_is_said_with_the_query_s_name() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"bolt://127.0.0.1:{nobody.getsockname()[1]}"
        with closing(Neo4jGraph(url, limits=Limits(connect_s=1, retry_s=0.5))) as graph:
            start = time.monotonic()
            with pytest.raises(Unavailable, match=r"graph query read_position failed at bolt://127.0.0.1"):
                graph.applied_position()
            assert time.monotonic() - start < 10


def test_a_wrong_password_is_denied(neo4j_server: Neo4jBackend) -> None:
    with (
        closing(Neo4jGraph(neo4j_server.url, auth=("neo4j", "not-the-password"))) as graph,
        pytest.raises(ServerDenied),
    ):
        graph.applied_position()


def test_migrations_that_start_at_once_are_recorded_once(open_graph: Callable[..., Neo4jGraph], cypher: Cypher) -> None:
    for row in cypher.rows("SHOW CONSTRAINTS YIELD name"):
        cypher.rows(f"DROP CONSTRAINT {row['name']}")
    cypher.empty()
    graphs = [open_graph() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda graph: graph.prepare(BUILTIN_KINDS), graphs))
    assert [row["v"] for row in cypher.rows("MATCH (m:Migration) RETURN m.version AS v ORDER BY v")] == [1, 2]
    indexes = [row["t"] for row in cypher.rows("SHOW INDEXES YIELD labelsOrTypes AS t WHERE t[0] STARTS WITH 'USED_'")]
    assert ["USED_DEVICE"] in indexes
    assert len(indexes) == 6
    names = {row["name"] for row in cypher.rows("SHOW CONSTRAINTS YIELD name")}
    assert names == {
        "entity_uid",
        "applied_partition",
        "migration_version",
        "ring_uid",
        "alert_uid",
        "schema_lock_name",
    }


def test_a_graph_of_a_newer_program_is_refused(graph: Neo4jGraph, cypher: Cypher) -> None:
    cypher.rows("CREATE (:Migration {version: 99, name: 'later'})")
    with pytest.raises(Conflict, match=r"has schema 99, this Ringwatch knows up to 2 \(run the newer"):
        graph.prepare(BUILTIN_KINDS)


def test_nodes_and_links_read_well(graph: Neo4jGraph, cypher: Cypher) -> None:
    at = 1_735_787_045_123_456
    graph.apply(batch(1, link(U1, ref("bank_account", "b"), at, last=at + 1), link(U1, ref("terminal", "t"), at)))
    rows = cypher.rows("MATCH (u:User)-[l]->(o) RETURN type(l) AS t, labels(o) AS labels, l.first_at AS at ORDER BY t")
    assert [(row["t"], set(row["labels"])) for row in rows] == [
        ("USED_BANK_ACCOUNT", {"Entity", "BankAccount"}),
        ("USED_TERMINAL", {"Entity", "Terminal"}),
    ]
    assert rows[0]["at"].iso_format().startswith("2025-01-02T03:04:05.123")


def test_the_date_follows_the_time(graph: Neo4jGraph, cypher: Cypher) -> None:
    for position, at in enumerate((5_000_000, 2_000_000, 9_000_000, 4_000_000)):
        graph.apply(batch(position, link(U1, D1, at)))
    for kind in ("MATCH (e:Entity)", "MATCH ()-[e]->()"):
        asked = f"{kind} RETURN e.first_at.epochMillis * 1000 = e.first_seen AND e.last_at.epochMillis * 1000 = e.last_seen AS ok"
        assert all(row["ok"] for row in cypher.rows(asked))


def test_equal_graphs_have_equal_digests_on_either_engine(graph: Neo4jGraph, tmp_path: Path) -> None:
    rng = random.Random(3)
    with closing(open_ladybug(tmp_path)) as other:
        other.prepare(BUILTIN_KINDS)
        for position in range(10):
            links = [
                link(
                    ref("user", f"ü{rng.randrange(9)}"),
                    ref(kind, f"{rng.choice('aé😀ﬀ')}"),
                    rng.randrange(99),
                    amount=4,
                )
                for kind in ("device", "ip", "device")
            ]
            for store in (graph, other):
                store.apply(batch(position, *links))
        assert graph.logical_digest() == other.logical_digest()
        graph.apply(batch(10, link(U1, D1)))
        assert graph.logical_digest() != other.logical_digest()


def hits(cypher: Cypher, name: str, kind: str | None = None, **params: Any) -> int:
    """Stored records a statement looks at."""
    text = load("neo4j")[name] if kind is None else typed(load("neo4j")[name], kind)

    def count(plan: Any) -> int:
        return int(plan["args"].get("DbHits", 0)) + sum(map(count, plan.get("children", ())))

    with cypher.driver.session() as session:
        return count(session.run("PROFILE " + text, params).consume().profile)  # type: ignore[arg-type]


def test_a_link_to_a_hub_costs_what_any_link_costs(graph: Neo4jGraph, cypher: Cypher) -> None:
    for step in range(3):
        users = [ref("user", f"h{step}-{i}") for i in range(1000)]
        graph.apply(batch(step, *(link(user, HUB, step) for user in users)))
    graph.apply(batch(9, *(link(ref("user", f"h0-{i}"), ref("ip", f"lone{i}")) for i in range(50))))
    sums = {name: [1] * 50 for name in ("first", "last", "events", "amount", "fails")}
    ends = {"user_prefix": uid_of(ref("user", "")), "other_prefix": uid_of(ref("ip", ""))}
    users = [f"h0-{i}" for i in range(50)]
    lone = hits(
        cypher, "write_links", "ip", **ends, **sums, most=MOST, users=users, others=[f"lone{i}" for i in range(50)]
    )
    crowded = hits(cypher, "write_links", "ip", **ends, **sums, most=MOST, users=users, others=["hub"] * 50)
    assert crowded <= 1.5 * lone


def test_a_walk_past_a_supernode_looks_at_a_bounded_number_of_links(
    neo4j_server: Neo4jBackend, graph: Neo4jGraph
) -> None:
    graph.apply(batch(0, link(ref("user", "h0000"), D1)))
    for step in range(10):
        graph.apply(batch(1 + step, *(link(ref("user", f"h{step}{i:03}"), HUB, step) for i in range(200))))
    graph.apply(batch(11, link(ref("user", "h0000"), HUB, 1)))
    with closing(open_neo4j(neo4j_server, links_a_step=100)) as bounded:
        near = bounded.neighbourhood(ref("user", "h0000"), degree_cap=5)
    assert near.nodes[0].degree == 2
    assert near.cuts == ("ip hub: 6 of 2,000 links read",)
    assert {x.user.id[:2] for x in near.links if x.other == HUB and x.user.id != "h0000"} == {"h9"}


def test_what_is_no_entity_is_not_found(graph: Neo4jGraph) -> None:
    with pytest.raises(NotFound, match="no device 'nope'"):
        graph.neighbourhood(ref("device", "nope"))
