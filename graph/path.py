"""A shortest way between two entities: breadth first from both ends by turns, the same for every engine that can answer `LinkReader`.

A hub is no way: that two users were seen on an ip that thousands use says nothing. So an entity over the degree cap is not walked
through, and the answer names it. Of several shortest ways the one is taken whose entities have the smallest keys, from the start on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from graph.store import EVERY_LINK, EntityRef, Link, Node, Path
from graph.traverse import LinkReader, StoredLink
from graph.uid import uid_of
from ringwatch.errors import BadInput, NotFound

_HUBS_NAMED = 10


@dataclass(slots=True)
class _Side:
    """What is known from one end: `before` holds, of each entity, those one step nearer to the end, with their links to it."""

    root: str
    depth: dict[str, int]
    frontier: list[str]
    before: dict[str, list[tuple[str, StoredLink]]] = field(default_factory=dict)
    full: bool = False
    """Whether the limit left something out."""


@dataclass(slots=True)
class _Search:
    reader: LinkReader
    cap: int
    limit: int
    ends: tuple[str, str]
    degree: dict[str, int] = field(default_factory=dict)

    def hub(self, uid: str) -> bool:
        return self.degree.get(uid, 0) > self.cap

    def learn(self, uids: Sequence[str]) -> None:
        new = [uid for uid in uids if uid not in self.degree]
        if new:
            self.degree.update(self.reader.degrees(new))

    def step(self, side: _Side) -> None:
        """One link further from the side's end."""
        self.learn(side.frontier)
        through = [uid for uid in side.frontier if uid == side.root or not self.hub(uid)]
        found = self.reader.links_of(through, cap=self.cap, wanted=EVERY_LINK) if through else {}
        reached: list[str] = []
        for uid in through:
            depth = side.depth[uid] + 1
            for link in found[uid].links if uid in found else ():
                if link.other not in side.depth:
                    if len(side.depth) >= self.limit:
                        side.full = True
                        continue
                    side.depth[link.other] = depth
                    side.before[link.other] = []
                    reached.append(link.other)
                if side.depth[link.other] == depth:
                    side.before[link.other].append((uid, link))
        side.frontier = reached

    def meets(self, one: _Side, other: _Side) -> list[str]:
        """Where the two sides have met by the shortest ways, hubs left out."""
        both = [uid for uid in one.depth if uid in other.depth]
        self.learn(both)
        there = [uid for uid in both if uid in self.ends or not self.hub(uid)]
        least = min((one.depth[uid] + other.depth[uid] for uid in there), default=0)
        return [uid for uid in there if one.depth[uid] + other.depth[uid] == least]


def path_between(
    reader: LinkReader, start: EntityRef, end: EntityRef, *, max_hops: int, degree_cap: int, limit: int
) -> Path | None:
    """See `GraphStore.path`."""
    for name, value in (("max_hops", max_hops), ("degree_cap", degree_cap), ("limit", limit)):
        if value < 1:
            raise BadInput(f"path {name}={value}", hint=f"{name} is at least 1")
    ends = uid_of(start), uid_of(end)
    known = reader.entities(list(dict.fromkeys(ends)))
    for ref, uid in zip((start, end), ends, strict=True):
        if uid not in known:
            raise NotFound(
                f"no {ref.kind} {ref.id!r} in tenant {ref.tenant!r}",
                hint="the graph knows an entity once an event that names it has been written; check kind and id",
            )
    search = _Search(reader, degree_cap, limit, ends)
    one, other = (_Side(uid, {uid: 0}, [uid]) for uid in ends)
    search.learn(ends)
    meets = search.meets(one, other)
    for _ in range(max_hops):
        ended = [s for s in (one, other) if not s.frontier and not s.full and not search.hub(s.root)]
        going_on = [s for s in (one, other) if s.frontier]
        if meets or ended or not going_on:
            break
        search.step(min(going_on, key=lambda s: len(s.frontier)))
        meets = search.meets(one, other)
    cuts = _cuts(search, (one, other))
    if not meets:
        return Path((), (), cuts) if cuts else None
    return _path(search, list(_way(one, other, meets)), cuts)


def _way(one: _Side, other: _Side, meets: Sequence[str]) -> Iterator[tuple[str, str, StoredLink | None]]:
    """Steps (uid, near end of the link that leads on, link) from the start to the end; the last one leads nowhere."""
    after: dict[str, dict[str, tuple[str, StoredLink]]] = {}
    for side, backwards in ((one, True), (other, False)):
        waiting, seen = list(meets), set(meets)
        while waiting:
            uid = waiting.pop()
            for nearer, link in side.before.get(uid, ()):
                start, goal = (nearer, uid) if backwards else (uid, nearer)
                after.setdefault(start, {})[goal] = (nearer, link)
                if nearer not in seen:
                    seen.add(nearer)
                    waiting.append(nearer)
    uid = one.root
    while uid != other.root:
        goal = min(after[uid])
        yield uid, *after[uid][goal]
        uid = goal
    yield uid, uid, None


def _path(search: _Search, way: Sequence[tuple[str, str, StoredLink | None]], cuts: tuple[str, ...]) -> Path:
    uids = [uid for uid, _, _ in way]
    search.learn(uids)
    stored = search.reader.entities(uids)
    nodes = []
    for depth, uid in enumerate(uids):
        e = stored[uid]
        nodes.append(
            Node(e.ref, e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts, depth, search.degree[uid])
        )
    links = []
    for _, near, x in way:
        if x is not None:
            user, thing = (near, x.other) if x.outgoing else (x.other, near)
            refs = stored[user].ref, stored[thing].ref
            links.append(Link(*refs, x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails))
    return Path(nodes, links, cuts)


def _cuts(search: _Search, sides: tuple[_Side, _Side]) -> tuple[str, ...]:
    reached = {uid for side in sides for uid in side.depth}
    hubs = sorted(uid for uid, degree in search.degree.items() if degree > search.cap and uid in reached)
    named = [uid for uid in hubs if uid in search.ends] + [uid for uid in hubs if uid not in search.ends][:_HUBS_NAMED]
    stored = search.reader.entities(named) if named else {}
    cuts = []
    for uid in named:
        ref, degree = stored[uid].ref, search.degree[uid]
        if uid in search.ends:
            cuts.append(f"{ref.kind} {ref.id}: {search.cap:,} of {degree:,} links read")
        else:
            cuts.append(f"{ref.kind} {ref.id}: {degree:,} links, more than {search.cap:,}: no way through it")
    if len(hubs) > len(named):
        cuts.append(
            f"{len(hubs) - len(named):,} more entities with more than {search.cap:,} links: no way through them"
        )
    if any(side.full for side in sides):
        cuts.append(f"{search.limit:,} entities looked at from one end: there are more")
    return tuple(cuts)
