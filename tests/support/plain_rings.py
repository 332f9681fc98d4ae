"""Membership of rings done the plain way, from scratch with networkx, to compare with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pytest
from support.streams import START_US

from features.columns import Applied
from features.schema import FeatureSchema
from rings import circles
from rings.keeper import RingKeeper, RingRules
from ringwatch.model import BUILTIN_KINDS, Event

SCHEMA = FeatureSchema((*BUILTIN_KINDS[:4], BUILTIN_KINDS[7]))
"""User, device, card, address; and the ip, which is weak and crowded."""
KINDS = ("device", "card", "address")
Thing = tuple[str, str, str]
"""Tenant, kind, entity."""


@dataclass
class Plain:
    """The step rules done the plain way: which links are live, and which things are hubs."""

    rules: RingRules
    live: dict[Thing, dict[str, int]] = field(default_factory=dict)
    """Thing -> user -> last seen."""
    hubs: dict[Thing, int] = field(default_factory=dict)
    until_us: int | None = None

    def event(self, event: Event) -> None:
        if self.until_us is None:
            self.advance(event.at_us)
        for kind in KINDS:
            if kind not in event.entities:
                continue
            thing, user, at_us = (event.tenant, kind, event.entities[kind]), event.entities["user"], event.at_us
            if thing in self.hubs:
                self.hubs[thing] = max(self.hubs[thing], at_us)
                continue
            users = self.live.setdefault(thing, {})
            if user not in users and at_us <= self.until_us:
                continue
            users[user] = max(users.get(user, at_us), at_us)
            if len(users) > self.rules.hub_cap:
                self.hubs[thing] = max(self.live.pop(thing).values())

    def advance(self, at_us: int) -> None:
        self.until_us = at_us - at_us % self.rules.mark_us - self.rules.window_us
        self.hubs = {thing: last_us for thing, last_us in self.hubs.items() if last_us > self.until_us}
        self.live = {
            thing: kept
            for thing, users in self.live.items()
            if (kept := {user: last_us for user, last_us in users.items() if last_us > self.until_us})
        }

    def components(self) -> list[set[tuple[str, str]]]:
        """Sets of (tenant, user), of two or more."""
        graph = nx.Graph()
        for thing, users in self.live.items():
            if len(users) > 1:
                graph.add_edges_from((("user", thing[0], user), ("thing", *thing)) for user in users)
        found = ({node[1:] for node in nodes if node[0] == "user"} for nodes in nx.connected_components(graph))
        return [users for users in found if len(users) > 1]


def communities(keeper: RingKeeper, tenant: str, component: set[tuple[str, str]]) -> list[set[str]]:
    """The community step on a whole component, written plainly."""
    links = keeper.links
    numbers = {links.tenants[tenant].users[user] for _, user in component}
    users_on = {e: {links.link_user[x] for x in on} for e, on in links.on.items() if links.link_user[on[0]] in numbers}
    alike = nx.Graph()
    alike.add_nodes_from(users_on)
    for e, of_e in users_on.items():
        for f, of_f in users_on.items():
            if e < f and 2 * len(of_e & of_f) >= max(len(of_e), len(of_f)):
                alike.add_edge(e, f)
    found = [sorted(things) for things in nx.connected_components(alike)]
    pull = [circles.pull(links, things) for things in found]
    assert len(set(pull)) == len(pull)
    around = {u: [i for i, things in enumerate(found) if any(u in users_on[e] for e in things)] for u in numbers}
    first = {u: max(near, key=pull.__getitem__) for u, near in around.items()}
    alive = {i for i, n in Counter(first.values()).items() if n > 1}
    final = {u: max((i for i in around[u] if i in alive), key=pull.__getitem__, default=-1) for u in numbers}
    rings = []
    for i in alive:
        graph = nx.Graph()
        for e in found[i]:
            takers = [u for u in users_on[e] if final[u] == i]
            graph.add_edges_from((("user", u), ("thing", e)) for u in takers)
        rings += [{n for what, n in nodes if what == "user"} for nodes in nx.connected_components(graph)]
    return [{links.user_name[u] for u in members} for members in rings if len(members) > 1]


def expected(keeper: RingKeeper, plain: Plain) -> set[tuple[str, frozenset[str]]]:
    found = set()
    for component in plain.components():
        tenant = next(iter(component))[0]
        groups = [{user for _, user in component}]
        if len(component) > keeper.rules.community_above:
            groups = communities(keeper, tenant, component)
        found |= {(tenant, frozenset(group)) for group in groups}
    return found


def actual(keeper: RingKeeper) -> set[tuple[str, frozenset[str]]]:
    found = set()
    for row in keeper.rings():
        ring = keeper.ring(row.tenant, row.ring_id)
        assert ring is not None
        found.add((row.tenant, frozenset(m.user for m in ring.members)))
    return found


def live_links(keeper: RingKeeper) -> set[tuple[Thing, str]]:
    links = keeper.links
    found = set()
    for tenant in links.tenant_list:
        for kind, names in tenant.things.items():
            for name, e in names.items():
                if e not in links.hubs:
                    accounts = keeper.accounts_on(tenant.name, kind, name, 2**60)
                    found |= {((tenant.name, kind, name), user) for user in accounts}
    return found


def settle(keeper: RingKeeper, plain: Plain) -> None:
    for _ in range(1000):
        at_us = keeper.next_mark_us or START_US
        keeper.advance(at_us)
        plain.advance(at_us)
        if not keeper.stats()["queued"]:
            return
    pytest.fail("the queue is never empty")


def drive(keeper: RingKeeper, plain: Plain, items: list[Applied], start: int, end: int) -> None:
    features = np.empty((1, SCHEMA.size), np.float32)
    for seq in range(start, end):
        item = items[seq]
        if isinstance(item, Event):
            if keeper.next_mark_us is not None and item.at_us >= keeper.next_mark_us:
                keeper.advance(item.at_us)
                plain.advance(item.at_us)
            plain.event(item)
        keeper.apply([(seq, item)], features)


def check(keeper: RingKeeper, plain: Plain) -> None:
    settle(keeper, plain)
    assert live_links(keeper) == {(thing, user) for thing, users in plain.live.items() for user in users}
    assert {(t.name, k, n) for t in keeper.links.tenant_list for k, names in t.things.items()
            for n, e in names.items() if e in keeper.links.hubs} == set(plain.hubs)  # fmt: skip
    assert actual(keeper) == expected(keeper, plain)
    ids = [(row.tenant, row.ring_id) for row in keeper.rings()]
    assert len(set(ids)) == len(ids)
