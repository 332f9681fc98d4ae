"""Keeps the rings: fed with events and labels in order, it knows at each event which ring its user is in.

Event time only, no randomness, no order of sets: the same items give the same state to the bit, however they are cut
into calls, and through `dump` and `load` at any cut. What has to look beyond the event's own links (expiry, hubs,
splits, communities, risk) happens at marks, multiples of `mark_us`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from rings import store, view
from rings.entry import RingEntry
from rings.expiry import expire
from rings.identity import Registry, RingState
from rings.judged import Judged, Judgements
from rings.links import FRAUD, NEVER, Links, Tenant, joining_kinds
from rings.membership import Membership
from rings.ring import Ring, RingSummary
from rings.row import AGE, Teller
from rings.rules import RingAt, RingRules
from ringwatch.model import DAY_US, MICROSECONDS, Event, Label

__all__ = ["RingAt", "RingKeeper", "RingRules"]

_SPENT = frozenset(("payment", "refund"))
_UNSPENT = frozenset(("declined", "failed"))
_DEFAULTS = RingRules()
NO_SIGNUPS_US = 14 * DAY_US
"""A tenant without any sign-up for that long reports none; then an account's first event stands for its sign-up."""


class RingKeeper:
    """One for all tenants; a ring never holds users of two. Not thread-safe: one caller at a time."""

    def __init__(self, schema: FeatureSchema, rules: RingRules = _DEFAULTS) -> None:
        self.schema, self.rules = schema, rules
        self.kinds = joining_kinds(schema)
        self.next_mark_us: int | None = None
        """Event time at which `advance` must be called before `apply`; None before the first event."""
        self.settled_us = 0
        """The last mark."""
        self._begin()

    def _begin(self) -> None:
        self.links = Links(self.kinds)
        self.registry = Registry(self.links)
        self.registry.history.mark_us = self.rules.mark_us
        self.membership = Membership(self.links, self.rules, self.registry)
        self.patterns: dict[int, tuple[str, ...]] = {}
        """User -> patterns it was alerted for."""
        self.learned: list[tuple[str, str, tuple[str, ...]]] = []
        """What `learn` was told since the last mark."""
        self._teller = Teller(self.links)
        self.judgements = Judgements(self.links, self.registry, self.patterns)
        self.counts = {"marks": 0, "visits": 0, "last_visits": 0, "most_visits": 0, "expired": 0, "late": 0}

    # -- marks

    def advance(self, at_us: int) -> None:
        """Settle up to the last mark at or before `at_us`: flags, expiry, hubs, queued rebuilds, circles, risk."""
        mark = at_us - at_us % self.rules.mark_us
        history = self.registry.history
        self.settled_us = self.registry.now_us = self.membership.now_us = history.now_us = mark
        history.cause = None
        self.next_mark_us = mark + self.rules.mark_us
        self._take_learned()
        self.counts["expired"] += expire(self.membership, self.patterns, mark - self.rules.window_us)
        history.settle_expired(self.registry.rings)
        self.membership.settle()
        history.settle(self.registry.rings, self.rules.dormant_us)
        self._measure_all()
        self.judgements.expire(mark)
        counts, visits = self.counts, self.membership.visits
        counts["marks"] += 1
        counts["visits"] += visits
        counts["last_visits"] = visits
        counts["most_visits"] = max(counts["most_visits"], visits)

    def learn(self, flagged: Sequence[tuple[str, str, tuple[str, ...]]]) -> None:
        """(tenant, user, patterns) of users alerted; counts in ring risk from the next mark on."""
        self.learned.extend((tenant, user, tuple(patterns)) for tenant, user, patterns in flagged)

    def judge(self, judged: Sequence[Judged]) -> None:
        """What people judged innocent, all of it; counts at once. Not in dumps: whoever loads one says it again."""
        self.judgements.give(judged, self.settled_us)

    def _take_learned(self) -> None:
        for name, user, patterns in self.learned:
            tenant = self.links.tenants.get(name)
            u = None if tenant is None else tenant.users.get(user)
            known = () if u is None else self.patterns.get(u, ())
            if u is not None and not {*patterns} <= {*known}:
                self.patterns[u] = tuple(sorted({*known, *patterns}))
                self.registry.measure_again((u,))
        self.learned.clear()

    def _measure_all(self) -> None:
        registry = self.registry
        for number in registry.fresh:
            self._measure(registry.rings[number])
        registry.fresh.clear()
        for number in registry.unsettled:
            ring = registry.rings[number]
            ring.risk_facts = ring.facts
            self.judgements.settle(ring)
            registry.burn(ring, self.settled_us)
        registry.unsettled.clear()
        registry.burned.forget(self.settled_us)

    def _measure(self, ring: RingState) -> None:
        ring.facts, ring.joined = self.registry.measured(ring, self.patterns)
        ring.row = None

    # -- events

    def apply(self, items: Sequence[tuple[int, Applied]], features: NDArray[np.float32]) -> list[RingAt | None]:
        """Take in (seq, item) pairs in order. One entry, and one row of `features` (events x schema.size), an event.

        The ring columns of a row are filled as of its event, its own links included. The times of the events lie
        before `next_mark_us`, but for late ones; the caller cuts there and calls `advance`.
        """
        block = features[:, self.schema.ring_offset :]
        block[:, :AGE] = nan
        found: list[RingAt | None] = []
        times: list[int] = []
        for seq, item in items:
            if isinstance(item, ResolvedLabel):
                self._label(item)
                continue
            if self.next_mark_us is None:
                self.advance(item.at_us)
            ring = self._event(seq, item)
            if ring is None:
                found.append(None)
            else:
                found.append(self._teller.tell(ring, item.at_us, block[len(found)]))
            times.append(item.at_us)
        self._fill_age(block, times)
        return found

    def look(self, events: Sequence[Event], features: NDArray[np.float32]) -> list[RingAt | None]:
        """Fill the ring columns from what is known now, the events' own links aside, and change nothing."""
        block = features[:, self.schema.ring_offset :]
        block[:, :AGE] = nan
        found: list[RingAt | None] = []
        for i, event in enumerate(events):
            ring = self._ring_of(event.tenant, event.user or "")
            found.append(None if ring is None else self._teller.tell(ring, event.at_us, block[i]))
        self._fill_age(block, [event.at_us for event in events])
        return found

    def _fill_age(self, block: NDArray[np.float32], times: list[int]) -> None:
        """Before the first mark nothing was settled."""
        if self.next_mark_us is None:
            block[: len(times), AGE] = nan
        elif times:
            ages = (np.array(times, np.int64) - self.settled_us) / MICROSECONDS
            block[: len(times), AGE] = np.maximum(ages, 0.0)

    def _event(self, seq: int, event: Event) -> RingState | None:
        """Take an event in; the ring of its user."""
        entities = event.entities
        user = entities.get("user")
        if user is None:
            return None
        links = self.links
        tenant = links.tenants.get(event.tenant)
        if tenant is None:
            tenant = self._new_tenant(event)
        at_us = event.at_us
        u = tenant.users.get(user)
        if event.type == "signup":
            u = self._signup(tenant, user, u, seq, event)
        amount = event.amount_minor
        if amount is None or event.type not in _SPENT or event.outcome in _UNSPENT:
            amount = 0
        last, events, amounts = links.link_last, links.link_events, links.link_amount
        head, user_of = links.thing_head, links.link_user
        for kind in self.kinds:  # not in the order of the record: that is nobody's promise
            name = entities.get(kind)
            if name is None:
                continue
            e = tenant.things[kind].get(name)
            if u is not None and e is not None:
                link = head[e]
                if link < 0 or user_of[link] != u:
                    link = links.find(u, e)
                if link >= 0:
                    if at_us > last[link]:
                        last[link] = at_us
                    elif at_us < links.link_first[link]:
                        self._earlier(link, seq, event)
                    events[link] += 1
                    if amount:
                        amounts[link] += amount
                    continue
            if at_us <= self.settled_us - self.rules.window_us:
                self.counts["late"] += 1
                continue
            if e is not None and e in links.hubs:
                links.hubs[e] = max(links.hubs[e], at_us)
                continue
            if u is None:
                u = self._new_user(tenant, user, at_us)
            link = self._new_link(tenant, u, e, kind, name, seq, event)
            events[link] += 1
            amounts[link] += amount
        if u is None:
            return None
        ring = self.registry.of[u]
        if ring is not None and ring.quiet_us is not None:
            self.registry.history.woken(ring, u, (seq, at_us, event.event_id))
        if self.registry.fresh:
            self._measure_fresh()
        return ring

    def _new_tenant(self, event: Event) -> Tenant:
        tenant = self.links.tenant(event.tenant)
        tenant.first_us = event.at_us
        return tenant

    def _new_user(self, tenant: Tenant, user: str, at_us: int) -> int:
        u = self.links.add_user(tenant, user, at_us)
        if not tenant.signups and at_us - tenant.first_us > NO_SIGNUPS_US:
            self.links.user_signup[u] = at_us
        return u

    def _signup(self, tenant: Tenant, user: str, u: int | None, seq: int, event: Event) -> int:
        """The account's opening; an account is known from it on, linked or not."""
        links, at_us = self.links, event.at_us
        tenant.signups += 1
        if u is None:
            u = self._new_user(tenant, user, at_us)
            links.wait(at_us // self.rules.mark_us, -1 - u)
        before = links.user_signup[u]
        if before == NEVER or at_us < before:
            links.user_signup[u] = at_us
            links.user_first[u] = min(links.user_first[u], at_us)
            if u in self.membership.large:
                self.registry.history.cause = seq, at_us, event.event_id
                self.membership.touch(u)
            self.registry.measure_again((u,))
        return u

    def _earlier(self, link: int, seq: int, event: Event) -> None:
        """A late event moves the first sight of a link back."""
        links, at_us = self.links, event.at_us
        self.registry.history.cause = seq, at_us, event.event_id
        links.link_first[link] = at_us
        u = links.link_user[link]
        links.user_first[u] = min(links.user_first[u], at_us)
        if links.link_thing[link] in links.on:
            self.registry.measure_again((u,))
            for x in links.on[links.link_thing[link]]:
                self.membership.touch(links.link_user[x])

    def _new_link(self, tenant: Tenant, u: int, e: int | None, kind: str, name: str, seq: int, event: Event) -> int:
        """A link seen for the first time, to what is no hub."""
        links, at_us = self.links, event.at_us
        if e is None:
            e = links.add_thing(tenant, links.kind_number[kind], name)
        link = links.add(u, e, seq, at_us, event.event_id)
        links.wait(at_us // self.rules.mark_us, link)
        on = links.on.get(e)
        if on is None:
            return link
        self.registry.history.cause = seq, at_us, event.event_id
        if len(on) > self.rules.hub_cap:
            users = [links.link_user[x] for x in links.make_hub(e, at_us)]
            self.membership.unlinked(e, users)
            self.registry.measure_again(users)
        else:
            self.membership.linked(u, e)
            self.registry.measure_again(links.link_user[x] for x in on)
        return link

    def _measure_fresh(self) -> None:
        """Measure the rings that changed; large ones wait for the mark."""
        registry = self.registry
        for number in list(registry.fresh):
            ring = registry.rings[number]
            if len(ring.members) <= self.rules.eager_users:
                self._measure(ring)
                del registry.fresh[number]

    def _label(self, item: ResolvedLabel) -> None:
        links, history, label = self.links, self.registry.history, item.label
        tenant = links.tenants.get(label.tenant)
        if tenant is None:
            return
        history.cause = -1, self._heard_us(label), label.target_id if label.target_kind == "event" else ""
        u = tenant.users.get(item.entities.get("user", ""))
        if u is None:
            if label.label == "fraud" and "user" not in item.entities:
                for e in (tenant.things.get(kind, {}).get(name) for kind, name in sorted(item.entities.items())):
                    if e is not None:
                        history.confirmed_thing(e)
            return
        if label.label == "fraud":
            links.user_fraud[u] += 1
            for kind, name in item.entities.items():
                e = tenant.things.get(kind, {}).get(name)
                if e is not None and (link := links.find(u, e)) >= 0:
                    links.link_flags[link] |= FRAUD
            if (ring := self.registry.of[u]) is not None:
                history.confirmed(ring, u)
        else:
            links.user_good[u] += 1
        self.registry.measure_again((u,))
        if self.registry.fresh:
            self._measure_fresh()

    def _heard_us(self, label: Label) -> int:
        """A label's time in the history: before the next mark, as that of events."""
        return label.known_at_us if self.next_mark_us is None else min(label.known_at_us, self.next_mark_us - 1)

    # -- questions

    def _ring_of(self, tenant: str, user: str) -> RingState | None:
        found = self.links.tenants.get(tenant)
        u = None if found is None else found.users.get(user)
        return None if u is None else self.registry.of[u]

    def ring_of(self, tenant: str, user: str) -> str | None:
        ring = self._ring_of(tenant, user)
        return None if ring is None else ring.ring_id

    def accounts_on(self, tenant: str, kind: str, entity: str, up_to_seq: int) -> tuple[str, ...]:
        """Users linked to an entity by links founded at or before a running number, in order of coming; of a hub the
        first `hub_cap + 1`, as far as still kept."""
        return view.accounts_on(self.links, tenant, kind, entity, up_to_seq)

    def rings(self, tenant: str | None = None, *, least_users: int = 2) -> list[RingSummary]:
        """Highest risk first, ties by id."""
        some = (ring for ring in self.registry.rings.values() if len(ring.members) >= least_users)
        return view.summaries(self.links, some, self.patterns, tenant)

    def summaries(self, tenant: str, ring_ids: Sequence[str]) -> list[RingSummary]:
        return view.summaries(self.links, filter(None, map(self.registry.by_id.get, ring_ids)), self.patterns, tenant)

    def ring(self, tenant: str, ring_id: str) -> Ring | None:
        ring = self.registry.by_id.get(ring_id)
        if ring is None or self.links.tenant_list[ring.tenant].name != tenant:
            return None
        return view.whole(self.links, ring, self.patterns, self.settled_us, self.registry.burned)

    def columns_of(self, ring: RingState) -> NDArray[np.float32]:
        """The ring columns that an event of a member would be told now, but for its age."""
        row = np.full(self.schema.size - self.schema.ring_offset, nan, np.float32)
        self._teller.tell(ring, max(ring.changed_us, self.settled_us), row)
        return row

    # -- keeping

    def keep_history(self) -> None:
        """From now on what happens to rings is kept until `take_history`, in dumps too. Whoever says so takes it."""
        self.registry.history.wanted = True

    def take_history(self) -> list[RingEntry]:
        """What happened to rings since it was last taken, in order."""
        return self.registry.history.take()

    def dump(self) -> dict[str, NDArray[Any]]:
        """Everything, as plain arrays; texts are UTF-8 bytes with offsets."""
        return store.dump(self)

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up what `dump` gave. Raises `Corrupt` when it is inconsistent; then nothing has changed."""
        store.load(self, arrays)
        self._teller = Teller(self.links)
        self.judgements = Judgements(self.links, self.registry, self.patterns)

    def digest(self) -> str:
        """Equal states have equal digests."""
        return store.digest(self.dump())

    def stats(self) -> dict[str, int | float]:
        links, queue = self.links, self.membership.queue
        return {
            "rings": len(self.registry.rings),
            "users": len(links.user_name) - len(links.free_users),
            "things": len(links.thing_name) - len(links.free_things),
            "links": len(links.link_user) - len(links.free_links),
            "hubs": len(links.hubs),
            "circles": len(self.membership.circles),
            "queued": len(queue),
            "queued_since_us": min(queue.values(), default=self.settled_us),
            "settled_us": self.settled_us,
            **self.counts,
        }
