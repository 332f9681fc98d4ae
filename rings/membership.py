"""Who is in which ring: small components at once, circles of large ones at marks.

A component of shared things and users is explored only until it is known to have more than `community_above` users, so
that no step depends on the size of the graph. What changed waits in a queue of users; `settle` empties it within a
budget. With an empty queue membership is what it would be from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable

from rings.circles import Pull, pieces, pull, related, users_on
from rings.identity import Registry
from rings.links import Links
from rings.rules import RingRules


class Circle:
    __slots__ = ("alive", "pull", "things")

    def __init__(self, things: list[int], strength: Pull, alive: bool = False) -> None:
        self.things = things
        self.pull = strength
        self.alive = alive
        """Preferred by at least two users."""


class Membership:
    def __init__(self, links: Links, rules: RingRules, registry: Registry) -> None:
        self.links, self.rules, self.registry = links, rules, registry
        self.large: set[int] = set()
        """Users of components with more than `community_above` users."""
        self.circles: dict[int, Circle] = {}
        self.circle_of: dict[int, int] = {}
        """Thing -> circle."""
        self.first: dict[int, int] = {}
        """User -> the circle it prefers."""
        self.final: dict[int, int] = {}
        """User -> the circle it is in."""
        self.next_circle = 0
        self.queue: dict[int, int] = {}
        """User -> time of the last mark when it was queued, in order."""
        self.now_us = 0
        self.visits = 0
        self._surely_large: set[int] = set()
        """Users found to be in a large component since the mark began; whoever reaches one is too."""

    def enqueue(self, users: Iterable[int]) -> None:
        history, queue, now_us = self.registry.history, self.queue, self.now_us
        by = None if history.cause is None else (history.cause[0], history.cause[2])
        for u in users:
            queue.setdefault(u, now_us)
            if by is not None:
                history.queued_by[u] = by

    def touch(self, u: int) -> None:
        """Something that decides between circles changed for a user."""
        if u in self.large:
            self.enqueue((u,))

    def linked(self, u: int, e: int) -> None:
        """A user has come to a thing that others are on: merge what is small, queue what is large."""
        links, registry = self.links, self.registry
        on = [links.link_user[x] for x in links.on[e]]
        near = dict.fromkeys(on)
        for v in on:
            if v not in self.large and (ring := registry.of[v]) is not None:
                near.update(dict.fromkeys(ring.members))
        if len(near) <= self.rules.community_above and not any(v in self.large for v in near):
            registry.unite(sorted(near))
            return
        self.large.update(near)
        self.enqueue(near)
        if registry.of[u] is None:
            self._join_most(u, on)

    def _join_most(self, u: int, on: list[int]) -> None:
        registry = self.registry
        count: dict[int, int] = {}
        for v in on:
            if (ring := registry.of[v]) is not None:
                count[ring.number] = count.get(ring.number, 0) + 1
        if not count:
            registry.unite(sorted(on))
            return
        best = min(count, key=lambda n: (-count[n], *registry.rings[n].seniority))
        registry.extend(registry.rings[best], u)

    def unlinked(self, e: int, touched: list[int]) -> None:
        """A link to a shared thing is gone; `touched` are the users that shared it."""
        self.enqueue(touched)
        if e not in self.links.on:
            self._uncircle(e)

    def gone(self, u: int) -> None:
        """A user without any links is forgotten."""
        self.queue.pop(u, None)
        self.registry.history.queued_by.pop(u, None)
        self._reset(u)
        self.registry.leave(u)

    def _reset(self, u: int) -> None:
        self.large.discard(u)
        self.first.pop(u, None)
        self.final.pop(u, None)

    def _uncircle(self, e: int) -> None:
        number = self.circle_of.pop(e, None)
        if number is None:
            return
        things = self.circles[number].things
        things.remove(e)
        if things:
            self.enqueue(users_on(self.links, things))
        else:
            del self.circles[number]

    def settle(self) -> None:
        """Work the queue off, until the mark's budget of link visits is spent."""
        self.visits = 0
        self._surely_large.clear()
        looked_at = self.registry.history.looked_at
        while self.queue and self.visits < self.rules.visits_per_mark:
            self._step()
            looked_at.clear()

    def _step(self) -> None:
        """Some users of the queue: as many as fill a tenth of the budget, so that circles of one change are looked at together."""
        until = self.visits + self.rules.visits_per_mark // 10
        batch: list[int] = []
        while self.queue and self.visits <= until:
            u = next(iter(self.queue))
            self._dequeue(u)
            near = self._explore(u)
            if near is None:
                self.large.add(u)
                self._surely_large.add(u)
                batch.append(u)
                continue
            self._part(near)
        if batch:
            self._choose(batch)

    def _part(self, near: list[int]) -> None:
        """A small component is a ring of its own. Who else was in a ring with its users is looked at too, so that a ring that falls into
        several small parts at once is compared with all of them."""
        links, of = self.links, self.registry.of
        groups, found = [near], dict.fromkeys(near)
        todo, seen = list(near), set()
        while todo:
            ring = of[todo.pop()]
            if ring is None or ring.number in seen:
                continue
            seen.add(ring.number)
            for v in ring.members:
                if v in found or v in self._surely_large:
                    continue
                more = self._explore(v)
                if more is None:
                    self._surely_large.add(v)
                    continue
                groups.append(more)
                found.update(dict.fromkeys(more))
                todo += more
        for u in found:
            self._dequeue(u)
            self._reset(u)
        for e in sorted({links.link_thing[x] for u in found for x in links.of[u] or ()}):
            self._uncircle(e)
        self.registry.regroup(found, [group for group in groups if len(group) > 1])

    def _dequeue(self, u: int) -> None:
        self.queue.pop(u, None)
        history = self.registry.history
        if (by := history.queued_by.pop(u, None)) is not None:
            history.looked_at[u] = by

    def _explore(self, u: int) -> list[int] | None:
        """The user's component, sorted; None when it has more than `community_above` users."""
        links, found = self.links, {u: None}
        todo, seen = [u], set()
        while todo:
            for link in links.of[todo.pop()] or ():
                e = links.link_thing[link]
                if e in seen:
                    continue
                seen.add(e)
                on = links.on[e]
                self.visits += len(on)
                for x in on:
                    v = links.link_user[x]
                    if v in self._surely_large:
                        return None
                    if v not in found:
                        found[v] = None
                        todo.append(v)
                if len(found) > self.rules.community_above:
                    return None
        return sorted(found)

    def _choose(self, batch: list[int]) -> None:
        """Work out again the circles around the users, and who is in them."""
        links = self.links
        region = {links.link_thing[x] for u in batch for x in links.of[u] or ()}
        for number in sorted({self.circle_of[e] for e in region if e in self.circle_of}):
            region.update(self.circles.pop(number).things)
        fresh: list[int] = []
        for things in related(links, region):
            self.circles[self.next_circle] = Circle(things, pull(links, things))
            for e in things:
                self.circle_of[e] = self.next_circle
            fresh.append(self.next_circle)
            self.next_circle += 1
        users = sorted({*batch, *users_on(links, region)})
        self.visits += sum(len(links.on[e]) for e in region)
        restless = self._restless(fresh, users)
        moved = self._finish(sorted({*users, *restless}))
        groups: list[list[int]] = []
        concerned = {*users, *restless}
        theirs = {self.final.get(u, -1) for u in concerned}
        for number in sorted({*fresh, *moved, *theirs} & self.circles.keys()):
            circle = self.circles[number]
            takers = [u for u in users_on(links, circle.things) if self.final.get(u) == number]
            concerned.update(takers)
            groups += pieces(links, circle.things, takers)
        self.registry.regroup(sorted(concerned), groups)

    def _restless(self, fresh: list[int], users: list[int]) -> list[int]:
        """Settle first choices; the users of circles that two users prefer now and did not, or did and do not."""
        touched = set(fresh)
        for u in users:
            choice = self._best(u)
            before = self.first.get(u, -1)
            if choice != before:
                touched.update((choice, before))
                if choice >= 0:
                    self.first[u] = choice
                else:
                    self.first.pop(u, None)
        found: set[int] = set()
        for number in sorted(touched & self.circles.keys()):
            circle = self.circles[number]
            on = users_on(self.links, circle.things)
            alive = sum(self.first.get(u) == number for u in on) > 1
            if alive != circle.alive:
                circle.alive = alive
                found.update(on)
        return sorted(found)

    def _finish(self, users: list[int]) -> set[int]:
        """Settle who is where; the circles somebody left or came to."""
        moved: set[int] = set()
        for u in users:
            choice, before = self.first.get(u, -1), self.final.get(u, -1)
            preferred = self.circles.get(choice)
            if preferred is None or not preferred.alive:
                choice = self._best(u, alive=True)
            if choice != before:
                moved.update((choice, before))
                if choice >= 0:
                    self.final[u] = choice
                else:
                    self.final.pop(u, None)
        return moved

    def _best(self, u: int, *, alive: bool = False) -> int:
        """The circle with the strongest pull on a user, or -1."""
        links, best = self.links, -1
        for link in links.of[u] or ():
            number = self.circle_of.get(links.link_thing[link], -1)
            if number < 0 or number == best or (alive and not self.circles[number].alive):
                continue
            if best < 0 or self.circles[number].pull > self.circles[best].pull:
                best = number
        return best
