"""A campaign being written: its accounts, its shared things, its events with their truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ingest.simulate.habits import signup, visit
from ingest.simulate.world import DAY_S, Person, SimulatedEvent, World, stamp


@dataclass(slots=True)
class Script:
    """`start_s` is when the campaign begins; `size` is how many accounts it may use."""

    world: World
    start_s: float
    size: int
    events: list[SimulatedEvent] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    shared: dict[str, list[str]] = field(default_factory=dict)

    def share(self, kind: str, *ids: str) -> None:
        self.shared.setdefault(kind, []).extend(ids)

    def account(self, joined_s: float, **fixed: Any) -> Person:
        """A new account of the ring; its sign-up is part of the fraud."""
        person = self.world.person(joined_s, **fixed)
        self.members.append(person.user)
        self.fraud(signup(self.world, person, joined_s))
        return person

    def aged_account(self, days: float, **fixed: Any) -> Person:
        """An account opened `days` before, with honest-looking visits since."""
        joined_s = max(0.0, self.start_s - days * DAY_S)
        person = self.world.person(joined_s, **fixed)
        self.members.append(person.user)
        self.calm(signup(self.world, person, joined_s))
        for _ in range(int(self.world.rng.integers(2, 6))):
            at_s = joined_s + float(self.world.rng.uniform(0.05, 0.95)) * (self.start_s - joined_s)
            self.calm(visit(self.world, person, at_s, buy=0.5))
        return person

    def victim(self) -> Person:
        """A customer who was there long before."""
        old = [p for p in self.world.people if p.joined_s < self.start_s - 2 * DAY_S] or self.world.people
        person = old[int(self.world.rng.integers(len(old)))]
        self.members.append(person.user)
        return person

    def calm(self, events: Iterable[SimulatedEvent]) -> None:
        self.events.extend(events)

    def fraud(self, events: Iterable[SimulatedEvent]) -> None:
        for event in events:
            event.fraud = True
            self.events.append(event)

    def do(self, person: Person, at_s: float, kind: str, **more: Any) -> None:
        """One fraudulent event."""
        self.fraud([stamp(self.world, person, at_s, kind, **more)])

    def pay(self, person: Person, at_s: float, amount: float, *, merchant: int | None = None, **more: Any) -> None:
        """A fraudulent payment at one of the person's merchants, approved unless said otherwise."""
        index = person.merchants[0] if merchant is None else merchant
        name, category, _ = self.world.merchants[index]
        fields = {"merchant": name, "category": category, "amount": round(amount, 2), "currency": "EUR",
                  "card": person.card, "order_id": self.world.tokens.new(), "outcome": "approved"}  # fmt: skip
        self.do(person, at_s, "payment", **{**fields, **more})

    def order(self, person: Person, at_s: float, amount: float, **more: Any) -> None:
        """Session, order and payment, all fraudulent; an e-mail and a phone stand on the order only."""
        contact = {"email": person.email, "phone": person.phone} if self.u(0, 1) < 0.7 else {}
        contact |= {kind: more.pop(kind) for kind in ("email", "phone") if kind in more}
        session = self.world.tokens.new()
        merchant, category, _ = self.world.merchants[person.merchants[0]]
        order = self.world.tokens.new()
        base = {"session": session, "merchant": merchant, "category": category, **more}
        self.do(person, at_s, "login", outcome="success", session=session)
        for i, step in enumerate(("cart", "checkout")):
            self.do(person, at_s + 30 + 40 * i, "session_step", step=step, **base)
        money = {"amount": round(amount, 2), "currency": "EUR", "card": person.card, "order_id": order, **base}
        self.do(person, at_s + 110, "order", address=person.address, quantity=1, **contact, **money)
        self.do(person, at_s + 120, "payment", address=person.address, outcome="approved", **money)

    def u(self, low: float, high: float) -> float:
        return float(self.world.rng.uniform(low, high))

    def n(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.world.rng.integers(low, high + 1))


Form = Callable[[Script], None]
