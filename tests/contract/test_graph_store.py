"""What every graph store must do, against a plain in-memory model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.graphs import Cypher, batch, entity, link, open_ladybug, open_neo4j, ref

from graph.store import EntityRef, GraphBatch, GraphStore, Neighbourhood
from ringwatch.errors import BadInput, NotFound
from ringwatch.model import BUILTIN_KINDS

OpenStore = Callable[[Path], GraphStore]
EVERYTHING = {"hops": 50, "degree_cap": 100_000, "limit": 100_000}


@dataclass(frozen=True)
class Engine:
    open: OpenStore
    """Opens a store in a folder; that of a server is in its one database."""
    empty: Callable[[], None]


@pytest.fixture(scope="module", params=["ladybug", pytest.param("neo4j", marks=pytest.mark.backends)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "ladybug":
        yield Engine(open_ladybug, lambda: None)
        return
    server = request.getfixturevalue("neo4j_server")
    with server.emptied(), closing(Cypher(server)) as cypher:
        yield Engine(lambda folder: open_neo4j(server), cypher.empty)


@pytest.fixture
def open_store(engine: Engine) -> OpenStore:
    engine.empty()
    return engine.open


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> Iterator[GraphStore]:
    opened = open_store(tmp_path)
    opened.prepare(BUILTIN_KINDS)
    yield opened
    opened.close()


@dataclass
class Model:
    """The graph as two dicts: (first, last, events, amount, alerts or fails) by entity and by link."""

    entities: dict[EntityRef, tuple[int, ...]] = field(default_factory=dict)
    links: dict[tuple[EntityRef, EntityRef], tuple[int, ...]] = field(default_factory=dict)
    position: int = -1

    def apply(self, batch: GraphBatch) -> bool:
        if batch.position <= self.position:
            return False
        self.position = batch.position
        for e in batch.entities:
            _merge(self.entities, e.ref, (e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts))
        for x in batch.links:
            for end in (x.user, x.other):
                _merge(self.entities, end, (x.first_seen_us, x.last_seen_us, 0, 0, 0))
            _merge(self.links, (x.user, x.other), (x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails))
        return True


def _merge(kept: dict, key: object, new: tuple[int, ...]) -> None:
    old = kept.get(key)
    if old is not None:
        new = (min(old[0], new[0]), max(old[1], new[1]), *(a + b for a, b in zip(old[2:], new[2:], strict=True)))
    kept[key] = new


def content(store: GraphStore, entities: list[EntityRef]) -> Model:
    """What the store holds of the entities and their links, by way of its reads."""
    found = Model(position=store.applied_position())
    for root in entities:
        if root in found.entities:
            continue
        near = store.neighbourhood(root, **EVERYTHING)
        assert not near.cuts
        for n in near.nodes:
            found.entities[n.ref] = (n.first_seen_us, n.last_seen_us, n.events, n.amount_minor, n.alerts)
        for x in near.links:
            found.links[x.user, x.other] = (x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails)
    return found


U1, U2, U3 = (ref("user", f"u{i}") for i in (1, 2, 3))
D1, D2 = (ref("device", f"d{i}") for i in (1, 2))


def test_an_empty_store_has_nothing_and_no_position(store: GraphStore) -> None:
    assert store.counts() == {"entities": 0, "links": 0}
    assert store.applied_position() == -1


def test_preparing_twice_keeps_the_content(store: GraphStore) -> None:
    store.apply(batch(1, link(U1, D1)))
    store.prepare(BUILTIN_KINDS)
    assert store.counts() == {"entities": 2, "links": 1, "entities.device": 1, "entities.user": 1}


def test_a_link_seen_again_keeps_earliest_latest_and_sums(store: GraphStore) -> None:
    store.apply(batch(1, link(U1, D1, 50, last=70, events=2, amount=10, fails=1)))
    store.apply(batch(2, link(U1, D1, 20, last=60, events=3, amount=5, fails=2)))
    (only,) = store.neighbourhood(U1).links
    assert (only.first_seen_us, only.last_seen_us, only.events, only.amount_minor, only.fails) == (20, 70, 5, 15, 3)
    assert (only.user, only.other) == (U1, D1)


def test_an_entity_seen_again_keeps_earliest_latest_and_sums(store: GraphStore) -> None:
    store.apply(GraphBatch([entity(D1, 50, last=70, events=2, amount=10, alerts=1)], [], 1))
    store.apply(GraphBatch([entity(D1, 20, last=60, events=3, amount=-4, alerts=2)], [], 2))
    (only,) = store.neighbourhood(D1).nodes
    assert (only.first_seen_us, only.last_seen_us, only.events, only.amount_minor, only.alerts) == (20, 70, 5, 6, 3)


def test_a_batch_delivered_again_changes_nothing(store: GraphStore) -> None:
    first = batch(7, link(U1, D1, amount=10))
    assert store.apply(first) is True
    assert store.apply(first) is False
    assert store.apply(batch(6, link(U1, D1, amount=99))) is False
    assert store.neighbourhood(U1).links[0].amount_minor == 10
    assert store.applied_position() == 7


def test_an_empty_batch_moves_the_position(store: GraphStore) -> None:
    assert store.apply(GraphBatch([], [], 12)) is True
    assert store.applied_position() == 12


def test_partitions_have_their_own_positions(store: GraphStore) -> None:
    store.apply(GraphBatch([entity(U1)], [], 5, "0"))
    assert store.applied_position("1") == -1
    assert store.apply(GraphBatch([entity(U1)], [], 3, "1")) is True
    assert (store.applied_position("0"), store.applied_position("1")) == (5, 3)
    assert store.neighbourhood(U1).nodes[0].events == 2


def test_content_and_position_survive_reopening(open_store: OpenStore, tmp_path: Path) -> None:
    model = Model()
    before = open_store(tmp_path)
    before.prepare(BUILTIN_KINDS)
    for position in range(30):
        step = batch(position, link(ref("user", position % 7), D1, position), link(U1, ref("device", position % 5)))
        model.apply(step)
        before.apply(step)
    before.close()
    after = open_store(tmp_path)
    after.prepare(BUILTIN_KINDS)
    assert content(after, list(model.entities)) == model
    after.close()


def test_a_link_whose_ends_have_no_update_is_kept(store: GraphStore) -> None:
    store.apply(GraphBatch([], [link(U1, D1, 5, last=9)], 1))
    nodes = {n.ref: n for n in store.neighbourhood(U1).nodes}
    assert set(nodes) == {U1, D1}
    assert (nodes[D1].first_seen_us, nodes[D1].last_seen_us, nodes[D1].events) == (5, 9, 0)


def test_tenants_and_kinds_never_share_an_entity(store: GraphStore) -> None:
    others = [ref("user", "u1", "default4"), ref("device", "u1"), ref("user", "1u1", "default"), ref("4user", "u1")]
    store.apply(GraphBatch([entity(r) for r in (U1, *others)], [], 1))
    assert store.counts()["entities"] == 5
    assert store.neighbourhood(U1).nodes[0].events == 1


@pytest.mark.parametrize("id_", ["a\0b", "quote'\"\\", "  spaces ", "line\nbreak", "☃é", "{x: $rows}", "x" * 256])
def test_identifiers_are_opaque(store: GraphStore, id_: str) -> None:
    store.apply(batch(1, link(ref("user", id_), ref("device", id_))))
    near = store.neighbourhood(ref("user", id_))
    assert [n.ref.id for n in near.nodes] == [id_, id_]


def test_an_unknown_root_is_not_found_with_a_hint(store: GraphStore) -> None:
    with pytest.raises(NotFound, match=r"no device 'nope' in tenant 'default' \(the graph knows an entity once"):
        store.neighbourhood(ref("device", "nope"))


@pytest.mark.parametrize("bounds", [{"hops": -1}, {"degree_cap": 0}, {"limit": 0}])
def test_impossible_bounds_are_refused(store: GraphStore, bounds: dict[str, int]) -> None:
    store.apply(batch(1, link(U1, D1)))
    with pytest.raises(BadInput, match="is at least"):
        store.neighbourhood(U1, **bounds)


def chain(store: GraphStore) -> None:
    """u1 - d1 - u2 - d2 - u3"""
    store.apply(batch(1, link(U1, D1), link(U2, D1), link(U2, D2), link(U3, D2)))


@pytest.mark.parametrize(("hops", "reached"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (9, 5)])
def test_hops_bound_the_walk(store: GraphStore, hops: int, reached: int) -> None:
    chain(store)
    near = store.neighbourhood(U1, hops=hops)
    assert [n.depth for n in near.nodes] == list(range(reached))
    assert len(near.links) == reached - 1
    assert bool(near.cuts) == (reached < 5)


def test_a_walk_says_which_entities_go_on(store: GraphStore) -> None:
    chain(store)
    near = store.neighbourhood(U1, hops=2)
    assert near.cuts == ("1 entities at 2 hops have further links, not read",)
    assert [(n.ref, n.degree, n.cut) for n in near.nodes] == [(U1, 1, False), (D1, 2, False), (U2, 2, True)]


@pytest.mark.slow
def test_a_hub_is_cut_to_its_most_recent_links_and_says_so(store: GraphStore) -> None:
    store.apply(batch(1, *(link(ref("user", f"h{i:03}"), D1, 1, last=100 + i) for i in range(120))))
    near = store.neighbourhood(D1, hops=1, degree_cap=3)
    assert [n.ref.id for n in near.nodes] == ["d1", "h119", "h118", "h117"]
    assert near.cuts == ("device d1: 3 of 120 links read",)
    assert near.nodes[0].cut
    assert near.nodes[0].degree == 120


def test_the_node_limit_is_kept_and_said(store: GraphStore) -> None:
    store.apply(batch(1, *(link(ref("user", f"h{i}"), D1, 1 + i) for i in range(20))))
    near = store.neighbourhood(D1, limit=8)
    assert len(near.nodes) == 8
    assert len(near.links) == 7
    assert "8 nodes read: at least 13 more lie within 2 hops" in near.cuts


def test_a_degree_counts_a_link_once_however_often_it_was_written(store: GraphStore) -> None:
    for position in range(5):
        store.apply(batch(position, link(U1, D1, position), link(U2, D1, position)))
    assert [n.degree for n in store.neighbourhood(D1, hops=1).nodes] == [2, 1, 1]
    assert store.counts()["links"] == 2


def test_a_link_past_the_cap_but_read_from_its_other_end_is_no_cut(store: GraphStore) -> None:
    store.apply(batch(1, link(U1, D1, 1), link(U1, D2, 9)))
    near = store.neighbourhood(D1, degree_cap=1)
    assert {x.other for x in near.links} == {D1, D2}
    assert near.cuts == ()


def test_surroundings_of_many_are_what_each_is_linked_to(store: GraphStore) -> None:
    users = [ref("user", f"h{i:02}") for i in range(12)]
    store.apply(
        batch(1, *(link(u, D1, 1, last=100 + i) for i, u in enumerate(users)), link(U1, D2, 1), link(U1, D1, 1))
    )
    store.apply(batch(2, link(users[0], D2, 2, last=7)))
    store.apply(GraphBatch([entity(U3, alerts=2)], [], 3))
    nobody = ref("device", "nothing"), ref("user", "1:nobody")
    found = store.surroundings([D1, D2, nobody[0]], also=[U3, nobody[1]], cap=4, limit=100)
    assert found.linked[D1] == users[:-5:-1]
    assert found.linked[D2] == [users[0], U1]
    assert not found.linked.get(nobody[0])
    assert (found.degrees[D1], found.degrees[D2]) == (13, 2)
    assert found.entities.keys() == {U3, U1, users[0], *users[-4:]}
    assert found.entities[U3].alerts == 2
    assert found.entities[users[0]].last_seen_us == 100
    few = store.surroundings([D1, D2], also=[U3], cap=4, limit=3)
    assert few.entities.keys() == {U3, users[-1], users[-2]}
    assert few.linked == {D1: found.linked[D1], D2: found.linked[D2]}
    assert store.surroundings([], cap=1, limit=1).entities == {}


def bounds_hold(near: Neighbourhood, *, hops: int, degree_cap: int, limit: int) -> None:
    depth = {n.ref: n.depth for n in near.nodes}
    assert near.nodes[0].ref == near.root
    assert len(near.nodes) == len(depth) <= limit
    assert max(depth.values()) <= hops
    shown: dict[EntityRef, int] = dict.fromkeys(depth, 0)
    cut = {n.ref for n in near.nodes if n.cut}
    for x in near.links:
        assert abs(depth[x.user] - depth[x.other]) <= 1 or cut & {x.user, x.other}, (
            "nearer only by a link not read there"
        )
        shown[x.user] += 1
        shown[x.other] += 1
    for n in near.nodes:
        assert n.cut == (shown[n.ref] < n.degree)
    assert bool(near.cuts) == any(n.cut for n in near.nodes)


steps = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["device", "card", "ip"]),
        st.integers(0, 3),
        st.integers(0, 1000),
        st.integers(-50, 10**12),
        st.booleans(),
    ),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, seed=st.integers(0, 2**32), hops=st.integers(0, 4), cap=st.integers(1, 5), limit=st.integers(1, 12))
def test_any_stream_in_any_cut_and_order_gives_the_model_s_graph(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, str, int, int, int, bool]],
    seed: int,
    hops: int,
    cap: int,
    limit: int,
) -> None:
    rng = random.Random(seed)
    updates = [
        link(ref("user", u), ref(kind, i), at, last=at + 3, amount=amount, fails=int(failed))
        for u, kind, i, at, amount, failed in steps
    ]
    straight, shuffled = Model(), Model()
    for i, x in enumerate(updates):
        straight.apply(GraphBatch([entity(x.user, x.first_seen_us), entity(x.other, x.first_seen_us)], [x], i))
    rng.shuffle(updates)
    engine.empty()
    with closing(engine.open(tmp_path_factory.mktemp("graph"))) as store:
        store.prepare(BUILTIN_KINDS)
        at = 0
        while at < len(updates):
            cut = updates[at : at + rng.randint(1, 20)]
            ends = [entity(end, x.first_seen_us) for x in cut for end in (x.user, x.other)]
            whole = GraphBatch(ends, cut, at)
            assert store.apply(whole) is True
            assert shuffled.apply(whole) is True
            assert store.apply(GraphBatch([], cut, rng.randint(-1, at))) is False
            at += len(cut)
        found = content(store, list(straight.entities))
        assert (found.entities, found.links) == (straight.entities, straight.links)
        assert found == shuffled
        counts = store.counts()
        assert (counts["entities"], counts["links"]) == (len(straight.entities), len(straight.links))
        for root in straight.entities:
            near = store.neighbourhood(root, hops=hops, degree_cap=cap, limit=limit)
            bounds_hold(near, hops=hops, degree_cap=cap, limit=limit)
            for x in near.links:
                assert (x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails) == straight.links[
                    x.user, x.other
                ]
