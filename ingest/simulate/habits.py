"""What customers do: sign up, log in, look around, buy, now and then change something or send something back."""

from __future__ import annotations

from typing import Any

from ingest.simulate.world import DAY_S, Person, SimulatedEvent, World, stamp


def signup(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    return [stamp(world, person, at_s, "signup", email=person.email, phone=person.phone, outcome="success")]


def visit(world: World, person: Person, at_s: float, *, buy: float = 0.55, **more: Any) -> list[SimulatedEvent]:
    """A session: login, steps, perhaps an order with its payment, perhaps a promotion. `more` goes on every event."""
    rng = world.rng
    session = world.tokens.new()
    common: dict[str, Any] = {"session": session, **more}
    if rng.random() < 0.35:
        common.setdefault("ip", person.mobile_ip)
    if person.spare_device is not None and rng.random() < 0.3:
        common.setdefault("device", person.spare_device)
    events: list[SimulatedEvent] = []
    t = at_s
    while rng.random() < 0.06 and len(events) < 3:
        events.append(stamp(world, person, t, "login", outcome="failed", outcome_code="bad_password", **common))
        t += float(rng.uniform(4, 40))
    events.append(stamp(world, person, t, "login", outcome="success", **common))
    t += float(rng.uniform(5, 120))
    events.append(stamp(world, person, t, "session_step", step="browse", **common))
    if rng.random() < buy:
        events += purchase(world, person, t + float(rng.uniform(20, 400)), **common)
    return events


def purchase(world: World, person: Person, at_s: float, *, level: float = 1.0, **common: Any) -> list[SimulatedEvent]:
    """Cart, checkout, order and payment, with a decline and another try now and then."""
    rng = world.rng
    index = int(person.merchants[int(rng.integers(len(person.merchants)))])
    merchant, category, price_level = world.merchants[index]
    amount = common.pop("amount", None) or world.amount(person, level * price_level)
    order = world.tokens.new()
    address = person.address
    if person.gift_addresses and rng.random() < 0.5:
        address = person.gift_addresses[int(rng.integers(len(person.gift_addresses)))]
    base = {"merchant": merchant, "category": category, **common}
    t = at_s
    events = []
    for step in ("cart", "checkout"):
        events.append(stamp(world, person, t, "session_step", step=step, **base))
        t += float(rng.uniform(10, 90))
    if rng.random() < 0.12:
        promo = world.promos[int(rng.integers(len(world.promos)))]
        events.append(stamp(world, person, t, "promo_redeem", promo=promo, outcome="success", **base))
        t += 5.0
    money = {"amount": amount, "currency": "EUR", "card": person.card, **base}
    money["order_id"] = order
    events.append(stamp(world, person, t, "order", address=address, quantity=int(rng.integers(1, 4)), **money))
    t += float(rng.uniform(3, 30))
    while rng.random() < person.fail_share and len(events) < 9:
        events.append(stamp(world, person, t, "payment", outcome="declined", outcome_code="issuer", **money))
        t += float(rng.uniform(8, 60))
    events.append(stamp(world, person, t, "payment", address=address, outcome="approved", **money))
    if rng.random() < 0.04:
        back = {"amount": amount, "currency": "EUR", "card": person.card, "order_id": order, **base}
        back.pop("session", None)
        later = t + float(rng.uniform(1, 8)) * DAY_S
        events.append(stamp(world, person, later, "refund", outcome="success", **back))
    return events


def change(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    """An honest change of address, password or phone."""
    step = ("address", "password", "phone")[int(world.rng.integers(3))]
    return [stamp(world, person, at_s, "profile_change", step=step, outcome="success", session=world.tokens.new())]


def day_of(world: World, person: Person, day: int) -> list[SimulatedEvent]:
    """Everything a customer starts on one day."""
    start = day * DAY_S
    if person.joined_s >= start + DAY_S:
        return []
    events: list[SimulatedEvent] = []
    if person.joined_s >= start:
        events += signup(world, person, person.joined_s)
    for _ in range(int(world.rng.poisson(person.sessions_per_day))):
        at_s = start + world.hour_of(person)
        if at_s > person.joined_s + 60:
            events += visit(world, person, at_s)
    if world.rng.random() < 0.004:
        events += change(world, person, start + world.hour_of(person))
    return events


def shelves(world: World, day: int) -> list[SimulatedEvent]:
    """What shops do in a day: new prices, new stock, customers' holds that lapse."""
    rng, events = world.rng, []
    for sku in world.skus:
        merchant = world.merchants[sku.merchant][0]
        if rng.random() < 0.08:
            sku.price = round(sku.price * float(np_clip(rng.normal(1.0, 0.12), 0.6, 1.5)), 2)
            events.append(
                _shelf(world, day, "price_change", sku.sku, merchant, unit_price_minor=round(sku.price * 100))
            )
        if rng.random() < 0.15:
            sku.stock = max(0, sku.stock + int(rng.integers(-20, 40)))
            events.append(_shelf(world, day, "stock_change", sku.sku, merchant, stock_after=sku.stock))
    return events


def np_clip(value: float, low: float, high: float) -> float:
    return min(max(float(value), low), high)


def _shelf(world: World, day: int, kind: str, sku: str, merchant: str, **more: Any) -> SimulatedEvent:
    at_s = day * DAY_S + float(world.rng.uniform(5, 20)) * 3600
    fields = {"event_id": world.tokens.new(), "type": kind, "sku": sku, "merchant": merchant, "currency": None, **more}
    return SimulatedEvent(at_s, {k: v for k, v in fields.items() if v is not None})
