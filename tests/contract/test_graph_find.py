"""Filters of a neighbourhood and ways between entities, on every graph store, against a plain model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing

import networkx as nx
import pytest
from support.graphs import Cypher, batch, link, open_ladybug, open_neo4j, ref

from graph.store import EntityRef, GraphStore, LinkFilter, Path
from graph.uid import uid_of
from ringwatch.errors import BadInput, NotFound
from ringwatch.model import BUILTIN_KINDS

U1, U2, U3 = (ref("user", f"u{i}") for i in (1, 2, 3))
D1, D2, C1, IP = ref("device", "d1"), ref("device", "d2"), ref("card", "c1"), ref("ip", "i1")


@pytest.fixture(params=["ladybug", pytest.param("neo4j", marks=pytest.mark.backends)])
def store(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[GraphStore]:
    if request.param == "ladybug":
        with closing(open_ladybug(tmp_path)) as opened:  # type: ignore[arg-type]
            opened.prepare(BUILTIN_KINDS)
            yield opened
        return
    server = request.getfixturevalue("neo4j_server")
    with server.emptied(), closing(Cypher(server)) as cypher, closing(open_neo4j(server)) as graph:
        cypher.empty()
        graph.prepare(BUILTIN_KINDS)
        yield graph


def two_users(store: GraphStore) -> None:
    """u1 and u2 share d1 and c1; u1 has i1 alone."""
    store.apply(
        batch(
            1,
            link(U1, D1, 10, last=40, events=5),
            link(U2, D1, 10, last=20, events=2),
            link(U1, C1, 10, last=30, events=1),
            link(U2, C1, 10, last=50, events=9),
            link(U1, IP, 10, last=60, events=4),
        )
    )


def reached(store: GraphStore, root: EntityRef, hops: int, wanted: LinkFilter) -> set[str]:
    near = store.neighbourhood(root, hops=hops, wanted=wanted)
    assert near.cuts == () or hops == 1
    return {n.ref.id for n in near.nodes if n.depth}


@pytest.mark.parametrize(
    ("wanted", "one", "two"),
    [
        (LinkFilter(), {"d1", "c1", "i1"}, {"d1", "c1", "i1", "u2"}),
        (LinkFilter(kinds=("card",)), {"c1"}, {"c1", "u2"}),
        (LinkFilter(kinds=("card", "ip")), {"c1", "i1"}, {"c1", "i1", "u2"}),
        (LinkFilter(kinds=("email",)), set(), set()),
        (LinkFilter(since_us=40), {"d1", "i1"}, {"d1", "i1"}),
        (LinkFilter(until_us=40), {"c1"}, {"c1"}),
        (LinkFilter(since_us=30, until_us=41), {"c1", "d1"}, {"c1", "d1"}),
        (LinkFilter(min_events=2), {"d1", "i1"}, {"d1", "i1", "u2"}),
        (LinkFilter(kinds=("device",), since_us=15, min_events=2), {"d1"}, {"d1", "u2"}),
    ],
)
def test_only_wanted_links_are_walked(store: GraphStore, wanted: LinkFilter, one: set[str], two: set[str]) -> None:
    two_users(store)
    assert reached(store, U1, 1, wanted) == one
    near = store.neighbourhood(U1, hops=2, wanted=wanted)
    assert {n.ref.id for n in near.nodes if n.depth} == two
    assert near.nodes[0].degree == 3, "a degree counts all links"
    assert not near.nodes[0].cut
    assert not any("links read" in cut for cut in near.cuts), "what is not wanted is not left out"


def test_users_are_led_to_whatever_the_kinds(store: GraphStore) -> None:
    two_users(store)
    near = store.neighbourhood(D1, hops=2, wanted=LinkFilter(kinds=("card",)))
    assert {n.ref.id for n in near.nodes} == {"d1", "u1", "u2", "c1"}
    assert near.cuts == ()


def test_a_bound_leaves_out_wanted_links_only(store: GraphStore) -> None:
    users = [link(ref("user", f"h{i:02}"), IP, 1, last=100 + i, events=1 + i % 2) for i in range(40)]
    store.apply(batch(1, *users))
    near = store.neighbourhood(IP, hops=1, degree_cap=3, wanted=LinkFilter(min_events=2))
    assert [n.ref.id for n in near.nodes] == ["i1", "h39", "h37", "h35"]
    assert near.cuts == ("ip i1: 3 of 20 links read",)
    assert (near.nodes[0].degree, near.nodes[0].cut) == (40, True)
    few = store.neighbourhood(IP, hops=1, degree_cap=3, wanted=LinkFilter(since_us=138))
    assert [n.ref.id for n in few.nodes] == ["i1", "h39", "h38"]
    assert few.cuts == ()


def ids(found: Path | None) -> list[str]:
    assert found is not None
    for i, x in enumerate(found.links):
        assert {x.user, x.other} == {found.nodes[i].ref, found.nodes[i + 1].ref}
        assert x.user.kind == "user"
    assert [n.depth for n in found.nodes] == list(range(len(found.nodes)))
    return [n.ref.id for n in found.nodes]


def test_a_way_leads_from_the_one_to_the_other(store: GraphStore) -> None:
    store.apply(batch(1, link(U1, D1, 3, last=9, events=2, amount=7), link(U2, D1), link(U2, D2), link(U3, D2)))
    there, back = store.path(U1, U3), store.path(U3, U1)
    assert ids(there) == ["u1", "d1", "u2", "d2", "u3"] == ids(back)[::-1]
    assert there is not None
    first = there.links[0]
    assert (first.first_seen_us, first.last_seen_us, first.events, first.amount_minor) == (3, 9, 2, 7)
    assert (there.nodes[1].degree, there.cuts) == (2, ())
    assert ids(store.path(U1, D1)) == ["u1", "d1"]
    assert ids(store.path(D1, U3, max_hops=3)) == ["d1", "u2", "d2", "u3"]
    assert ids(store.path(U1, U1)) == ["u1"]
    assert store.path(U1, U3, max_hops=3) is None


def test_where_there_is_no_way_there_is_none(store: GraphStore) -> None:
    store.apply(batch(1, link(U1, D1), link(U2, D2), link(ref("user", "u2", "other"), ref("device", "d1", "other"))))
    assert store.path(U1, U2) is None
    for missing in (ref("user", "nobody"), ref("user", "u1", "other")):
        for ends in ((U1, missing), (missing, U1)):
            with pytest.raises(NotFound, match=missing.id):
                store.path(*ends)
    with pytest.raises(BadInput, match="is at least"):
        store.path(U1, U2, max_hops=0)


def test_of_several_ways_it_is_always_the_same(store: GraphStore) -> None:
    things = [ref("device", i) for i in "zcam"]
    store.apply(batch(1, *(link(u, d, i) for i, d in enumerate(things) for u in (U1, U2))))
    assert ids(store.path(U1, U2)) == ["u1", "a", "u2"]
    assert ids(store.path(U2, U1)) == ["u2", "a", "u1"]


def test_no_way_leads_through_a_hub_and_the_hub_is_named(store: GraphStore) -> None:
    crowd = [link(ref("user", f"h{i}"), IP, i) for i in range(6)]
    store.apply(batch(1, link(U1, IP), link(U2, IP), *crowd))
    found = store.path(U1, U2, degree_cap=5)
    assert found == Path((), (), ("ip i1: 8 links, more than 5: no way through it",))
    assert ids(store.path(U1, U2, degree_cap=8)) == ["u1", "i1", "u2"]
    store.apply(batch(2, link(U1, D1), link(U3, D1), link(U3, D2), link(U2, D2)))
    around = store.path(U1, U2, degree_cap=5)
    assert ids(around) == ["u1", "d1", "u3", "d2", "u2"]
    assert around is not None
    assert around.cuts == ("ip i1: 8 links, more than 5: no way through it",)


def test_a_hub_may_be_an_end(store: GraphStore) -> None:
    store.apply(
        batch(
            1,
            link(U1, D1, 1),
            link(U2, D1),
            link(U2, IP, 1),
            *(link(ref("user", f"h{i}"), IP, 9 + i) for i in range(6)),
        )
    )
    for found in (store.path(U1, IP, degree_cap=3), store.path(IP, U1, degree_cap=3)):
        assert sorted(ids(found)) == sorted(["u1", "d1", "u2", "i1"])
        assert found is not None
        assert found.cuts == ("ip i1: 3 of 7 links read",)


def test_what_is_looked_at_is_bounded_and_said(store: GraphStore) -> None:
    store.apply(
        batch(
            1,
            *(link(U1, ref("device", f"x{i}"), i) for i in range(30)),
            *(link(U2, ref("card", f"y{i}"), i) for i in range(30)),
        )
    )
    found = store.path(U1, U2, limit=10)
    assert found == Path((), (), ("10 entities looked at from one end: there are more",))


@pytest.mark.parametrize("seed", range(4))
def test_any_way_is_as_short_as_the_model_s(store: GraphStore, seed: int) -> None:
    rng = random.Random(seed)
    users = [ref("user", i) for i in range(24)]
    things = [ref(rng.choice(["device", "card", "ip"]), i) for i in range(24)]
    pairs = {(rng.choice(users), rng.choice(things[:4] if rng.random() < 0.2 else things)) for _ in range(44)}
    store.apply(batch(1, *(link(u, x, rng.randrange(50)) for u, x in sorted(pairs, key=str))))
    model = nx.Graph([(uid_of(u), uid_of(x)) for u, x in pairs])
    known = sorted({e for pair in pairs for e in pair}, key=str)
    for _ in range(25):
        a, b = rng.sample(known, 2)
        cap, hops = rng.choice([3, 4, 50]), rng.randint(1, 6)
        ends = {uid_of(a), uid_of(b)}
        if any(model.degree[uid] > cap for uid in ends):
            continue
        without_hubs = model.subgraph([n for n in model if n in ends or model.degree[n] <= cap])
        found = store.path(a, b, max_hops=hops, degree_cap=cap)
        ways = (
            list(nx.all_shortest_paths(without_hubs, *map(uid_of, (a, b))))
            if nx.has_path(without_hubs, *map(uid_of, (a, b)))
            else []
        )
        if ways and len(ways[0]) - 1 <= hops:
            ids(found)
            assert found is not None
            assert [uid_of(n.ref) for n in found.nodes] == min(ways)
        else:
            assert found is None or (not found.nodes and found.cuts)
