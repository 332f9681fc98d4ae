"""Who is linked to what: live links between users and entities that can hold a ring together, in columns.

Users, things (entities of a joining kind) and links are numbered; numbers of the gone are used again. Most things have
one user, so what only shared things need is kept for those alone: the list of their links, and for each user the list
of its links to shared things. Times are microseconds of event time, amounts minor units.
"""

from __future__ import annotations

from array import array
from heapq import heappop, heappush
from typing import Any, ClassVar

from features.schema import FeatureSchema
from ringwatch.model import DAY_US, Strength

NEVER = -(2**62)
DEPARTED, FRAUD = 1, 2
"""Bits of `link_flags`: the user left its usual thing for this one; an event of this link was confirmed as fraud."""
ESTABLISHED_US = 2 * DAY_US
"""An account older than this that takes up another thing of a kind departs from what it had."""


def joining_kinds(schema: FeatureSchema) -> tuple[str, ...]:
    """Kinds that hold rings together: strong and not crowded, in the order of the schema."""
    return tuple(k.name for k in schema.kinds if k.strength == Strength.STRONG and not k.crowded and k.name != "user")


class Tenant:
    """The names of one tenant: user -> number, and for each joining kind entity -> number."""

    __slots__ = ("first_us", "name", "number", "signups", "sizes", "things", "users")

    def __init__(self, name: str, number: int, kinds: tuple[str, ...]) -> None:
        self.name = name
        self.number = number
        self.users: dict[str, int] = {}
        self.things: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
        self.first_us = NEVER
        """Time of its first event."""
        self.signups = 0
        self.sizes: list[list[int]] = [[0] for _ in kinds]
        """Joining kind -> number of live things with so many users; hubs aside."""


class Links:
    """The columns. `keeper.py` says what a change of them means for the rings."""

    COLUMNS: ClassVar[dict[str, str]] = {
        "user_tenant": "i", "user_first": "q", "user_signup": "q", "user_kinds": "i", "user_links": "i",
        "user_fraud": "i", "user_good": "i",
        "thing_tenant": "i", "thing_kind": "b", "thing_head": "i",
        "link_user": "i", "link_thing": "i", "link_first": "q", "link_last": "q", "link_events": "i",
        "link_amount": "q", "link_seq": "q", "link_flags": "b",
        "free_users": "i", "free_things": "i", "free_links": "i",
    }  # fmt: skip
    """Column -> type code of `array`."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds
        self.kind_number = {kind: i for i, kind in enumerate(kinds)}
        self.tenants: dict[str, Tenant] = {}
        self.tenant_list: list[Tenant] = []
        self.user_name: list[str] = []
        self.thing_name: list[str] = []
        self.user_tenant, self.user_links = array("i"), array("i")
        self.user_first, self.user_signup, self.user_kinds = array("q"), array("q"), array("i")
        self.user_fraud, self.user_good = array("i"), array("i")
        self.user_ring: list[Any] = []
        """User -> its ring or None; `identity.py` keeps it."""
        self.thing_tenant, self.thing_kind, self.thing_head = array("i"), array("b"), array("i")
        self.link_user, self.link_thing, self.link_flags = array("i"), array("i"), array("b")
        self.link_first, self.link_last, self.link_events = array("q"), array("q"), array("i")
        self.link_amount, self.link_seq = array("q"), array("q")
        self.free_users, self.free_things, self.free_links = array("i"), array("i"), array("i")
        self.on: dict[int, array[int]] = {}
        """Shared thing (two users or more, no hub) -> its links in order of coming."""
        self.of: list[array[int] | None] = []
        """User -> its links to shared things, in the order they became shared; None without any."""
        self.hubs: dict[int, int] = {}
        """Hub -> time it was last seen with a user whose link is not kept."""
        self.hub_links: dict[int, array[int]] = {}
        self.founded_by: dict[int, str] = {}
        """Link that is not the first on its thing -> the event that made it."""
        self.buckets: dict[int, array[int]] = {}
        """Hour of event time -> links last seen then when they were put there, and -1 - user for users without any."""
        self._hours: list[int] = []
        """The buckets' numbers, as a heap."""

    def tenant(self, name: str) -> Tenant:
        found = self.tenants.get(name)
        if found is None:
            found = self.tenants[name] = Tenant(name, len(self.tenant_list), self.kinds)
            self.tenant_list.append(found)
        return found

    def add_user(self, tenant: Tenant, name: str, at_us: int) -> int:
        if self.free_users:
            u = self.free_users.pop()
            self.user_name[u] = name
            self.user_tenant[u], self.user_first[u], self.user_signup[u] = tenant.number, at_us, NEVER
            self.user_kinds[u] = self.user_links[u] = self.user_fraud[u] = self.user_good[u] = 0
        else:
            u = len(self.user_name)
            self.user_name.append(name)
            self.user_ring.append(None)
            self.of.append(None)
            self.user_tenant.append(tenant.number)
            self.user_first.append(at_us)
            self.user_signup.append(NEVER)
            for column in (self.user_kinds, self.user_links, self.user_fraud, self.user_good):
                column.append(0)
        tenant.users[name] = u
        return u

    def drop_user(self, u: int) -> None:
        del self.tenant_list[self.user_tenant[u]].users[self.user_name[u]]
        self.user_name[u] = ""
        self.free_users.append(u)

    def add_thing(self, tenant: Tenant, kind: int, name: str) -> int:
        if self.free_things:
            e = self.free_things.pop()
            self.thing_name[e] = name
            self.thing_tenant[e], self.thing_kind[e], self.thing_head[e] = tenant.number, kind, -1
        else:
            e = len(self.thing_name)
            self.thing_name.append(name)
            self.thing_tenant.append(tenant.number)
            self.thing_kind.append(kind)
            self.thing_head.append(-1)
        tenant.things[self.kinds[kind]][name] = e
        return e

    def drop_thing(self, e: int) -> None:
        del self.tenant_list[self.thing_tenant[e]].things[self.kinds[self.thing_kind[e]]][self.thing_name[e]]
        self.thing_name[e] = ""
        self.free_things.append(e)

    def find(self, u: int, e: int) -> int:
        """The link between a user and a thing, or -1."""
        head = self.thing_head[e]
        if head >= 0 and self.link_user[head] == u:
            return head
        on = self.on.get(e) or self.hub_links.get(e)
        if on is None:
            return -1
        mine = self.of[u] or ()
        if len(mine) < len(on) and e in self.on:
            return next((x for x in mine if self.link_thing[x] == e), -1)
        return next((x for x in on if self.link_user[x] == u), -1)

    def add(self, u: int, e: int, seq: int, at_us: int, event_id: str) -> int:
        """A new link to what is no hub, seen for the first time by this event; the event is not counted on it yet."""
        kind = 1 << self.thing_kind[e]
        departed = bool(self.user_kinds[u] & kind) and at_us - self.user_first[u] > ESTABLISHED_US
        self.user_kinds[u] |= kind
        self.user_links[u] += 1
        link = self._new_link(u, e, seq, at_us, DEPARTED if departed else 0)
        head = self.thing_head[e]
        if head < 0:
            self.thing_head[e] = link
            self._resize(e, 0, 1)
            return link
        self.founded_by[link] = event_id
        on = self.on.get(e)
        if on is None:
            on = self.on[e] = array("i", (head,))
            self._list(head)
        on.append(link)
        self._list(link)
        self._resize(e, len(on) - 1, len(on))
        return link

    def _resize(self, e: int, before: int, now: int) -> None:
        sizes = self.tenant_list[self.thing_tenant[e]].sizes[self.thing_kind[e]]
        sizes[before] -= before > 0
        if now >= len(sizes):
            sizes.append(0)
        sizes[now] += now > 0

    def _new_link(self, u: int, e: int, seq: int, at_us: int, flags: int) -> int:
        if self.free_links:
            link = self.free_links.pop()
            self.link_user[link], self.link_thing[link], self.link_flags[link] = u, e, flags
            self.link_first[link] = self.link_last[link] = at_us
            self.link_events[link], self.link_amount[link], self.link_seq[link] = 0, 0, seq
            return link
        link = len(self.link_user)
        self.link_user.append(u)
        self.link_thing.append(e)
        self.link_flags.append(flags)
        self.link_first.append(at_us)
        self.link_last.append(at_us)
        self.link_events.append(0)
        self.link_amount.append(0)
        self.link_seq.append(seq)
        return link

    def wait(self, bucket: int, entry: int) -> None:
        """Look at a link (or at user `-1 - entry`) again when the bucket's hour is a window ago."""
        found = self.buckets.get(bucket)
        if found is None:
            found = self.buckets[bucket] = array("i")
            heappush(self._hours, bucket)
        found.append(entry)

    def due(self, until_us: int, bucket_us: int) -> list[int]:
        """Links and users to look at: those put into buckets that began at or before a time. They are in none after."""
        found: list[int] = []
        while self._hours and self._hours[0] * bucket_us <= until_us:
            found += self.buckets.pop(heappop(self._hours))
        return found

    def make_hub(self, e: int, at_us: int) -> array[int]:
        """The thing stops holding users together. Its links, which are kept."""
        links = self.on.pop(e)
        self._resize(e, len(links), 0)
        for link in links:
            self._unlist(link)
        self.hubs[e] = at_us
        self.hub_links[e] = links
        return links

    def remove(self, link: int) -> list[int]:
        """Take an expired link away. The users that shared the thing until now, its own user first; empty when unshared."""
        u, e = self.link_user[link], self.link_thing[link]
        self.founded_by.pop(link, None)
        self.user_links[u] -= 1
        self.free_links.append(link)
        kept = self.hub_links.get(e)
        if kept is not None:
            kept.remove(link)
            self.thing_head[e] = kept[0] if kept else -1
            return []
        on = self.on.get(e)
        if on is None:
            self._resize(e, 1, 0)
            self.thing_head[e] = -1
            self.drop_thing(e)
            return []
        self._resize(e, len(on), len(on) - 1)
        on.remove(link)
        self._unlist(link)
        self.thing_head[e] = on[0]
        touched = [u, *(self.link_user[x] for x in on)]
        if len(on) == 1:
            self._unlist(on[0])
            del self.on[e]
        return touched

    def _list(self, link: int) -> None:
        u = self.link_user[link]
        mine = self.of[u]
        if mine is None:
            self.of[u] = array("i", (link,))
        else:
            mine.append(link)

    def _unlist(self, link: int) -> None:
        u = self.link_user[link]
        mine = self.of[u]
        assert mine is not None
        mine.remove(link)
        if not mine:
            self.of[u] = None

    def end_hub(self, e: int) -> None:
        """Nobody was seen on it for a window: it is forgotten. All its links have expired."""
        del self.hubs[e]
        del self.hub_links[e]
        self.drop_thing(e)

    def relist(self) -> None:
        """Build again what follows from the columns and lists: the heap, and the sizes."""
        self._hours = sorted(self.buckets)
        for tenant in self.tenant_list:
            tenant.sizes = [[0] for _ in self.kinds]
        for e in sorted(self.on):
            for n in range(len(self.on[e])):
                self._resize(e, n, n + 1)
        for e, head in enumerate(self.thing_head):
            if head >= 0 and e not in self.on and e not in self.hubs:
                self._resize(e, 0, 1)
