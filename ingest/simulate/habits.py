"""What customers do: sign up, log in, look around, buy, now and then change something or send something back."""

from __future__ import annotations

from typing import Any

from ingest.simulate.world import CITIES, DAY_S, HOUR_S, Person, SimulatedEvent, World, stamp


def signup(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    return [stamp(world, person, at_s, "signup", email=person.email, phone=person.phone, outcome="success")]


def visit(
    world: World, person: Person, at_s: float, *, buy: float = 0.55, resume: str = "", **more: Any
) -> list[SimulatedEvent]:
    """A session: login, steps, perhaps an order with its payment, perhaps a promotion. `more` goes on every event.

    A session that is resumed has no login.
    """
    rng = world.rng
    common: dict[str, Any] = {"session": resume or world.tokens.new(), **more}
    if person.vpn and rng.random() < 0.35:
        common.setdefault("ip", world.vpn_ips[int(rng.integers(len(world.vpn_ips)))])
        common.setdefault("city", int(rng.integers(len(CITIES))))
    elif rng.random() < 0.35:
        common.setdefault("ip", person.mobile_ip)
    if person.spare_device is not None and rng.random() < 0.3:
        common.setdefault("device", person.spare_device)
    elif person.second is not None and rng.random() < 0.35:
        common = {"device": person.second[0], "user_agent": person.second[1], **common}
    events: list[SimulatedEvent] = []
    t = at_s
    if not resume:
        while rng.random() < 0.06 and len(events) < 3:
            events.append(stamp(world, person, t, "login", outcome="failed", outcome_code="bad_password", **common))
            t += float(rng.uniform(4, 40))
        events.append(stamp(world, person, t, "login", outcome="success", **common))
        t += float(rng.uniform(5, 120))
    if rng.random() < 0.9:
        events.append(stamp(world, person, t, "session_step", step="browse", **common))
    if rng.random() < buy:
        if person.second is not None and not more and rng.random() < 0.12:
            common |= _other_device(person, common)
        events += purchase(world, person, t + float(rng.uniform(20, 400)), **common)
    return events


def _other_device(person: Person, common: dict[str, Any]) -> dict[str, Any]:
    """What changes when a session goes on at the person's other device, at home or on the way."""
    device, agent = person.second if person.second and common.get("device") != person.second[0] else (None, None)
    return {
        "device": device or person.device,
        "user_agent": agent or person.agent,
        "ip": person.mobile_ip if common.get("ip") != person.mobile_ip else person.ip,
    }


def purchase(
    world: World,
    person: Person,
    at_s: float,
    *,
    level: float = 1.0,
    at_once: bool = False,
    promo: str = "",
    **common: Any,
) -> list[SimulatedEvent]:
    """Cart, checkout, order and payment, with a decline and another try now and then; `at_once` skips the steps."""
    rng = world.rng
    index = int(person.merchants[int(rng.integers(len(person.merchants)))])
    base: dict[str, Any] = {"merchant": world.merchants[index][0], "category": world.merchants[index][1], **common}
    money = _basket(world, person, index, level, base)
    events, t = [], at_s
    if not at_once and rng.random() < 0.93:
        for step in ("cart", "checkout"):
            events.append(stamp(world, person, t, "session_step", step=step, **base))
            t += float(rng.uniform(10, 90))
        if "sku" in money and rng.random() < 0.2:
            held = {**base, "sku": money["sku"], "quantity": int(rng.integers(1, 4))}
            events.append(stamp(world, person, t - 5.0, "cart_hold", **held))
    if promo or rng.random() < 0.1:
        promo = promo or world.promos[int(rng.integers(len(world.promos)))]
        events.append(stamp(world, person, t, "promo_redeem", promo=promo, outcome="success", **base))
        t += 5.0
    address = person.address
    if person.gift_addresses and rng.random() < 0.5:
        address = person.gift_addresses[int(rng.integers(len(person.gift_addresses)))]
    contact = {"email": person.email, "phone": person.phone} if rng.random() < 0.7 else {}
    events.append(stamp(world, person, t, "order", address=address, **contact, **money))
    t += float(rng.uniform(3, 30))
    paid = {k: v for k, v in money.items() if k not in ("quantity", "unit_price_minor")}
    if "city" in paid and rng.random() < 0.4:  # the bank's page opens outside the tunnel
        paid = {k: v for k, v in paid.items() if k not in ("ip", "city")}
    while rng.random() < person.fail_share and len(events) < 9:
        events.append(stamp(world, person, t, "payment", outcome="declined", outcome_code="issuer", **paid))
        t += float(rng.uniform(8, 60))
    events.append(stamp(world, person, t, "payment", address=address, outcome="approved", **paid))
    if rng.random() < 0.04:
        back = {k: v for k, v in paid.items() if k not in ("session", "ip", "city")}
        if rng.random() < 0.5:
            back["bank_account"] = person.bank_account
        later = t + float(rng.uniform(1, 8)) * DAY_S
        events.append(stamp(world, person, later, "refund", outcome="success", **back))
    return events


def _basket(world: World, person: Person, merchant: int, level: float, base: dict[str, Any]) -> dict[str, Any]:
    """What is bought and how it is paid: an article and its price, or just an amount."""
    rng = world.rng
    amount, quantity = base.pop("amount", None), 1
    sku = base.get("sku")
    if amount is None:
        amount = world.amount(person, level * world.merchants[merchant][2])
        shelf = world.shelf(merchant, amount) if sku is None and rng.random() < 0.6 else None
        if shelf is not None:
            quantity = max(1, min(6, round(amount / shelf.price)))
            base = {**base, "sku": shelf.sku}
            amount = round(shelf.price * quantity, 2)
    money = {**base, "amount": amount, "currency": "EUR", "order_id": world.tokens.new(), "quantity": quantity}
    if "sku" in base:
        money["unit_price_minor"] = round(amount * 100 / quantity)
    if person.debit:
        return {**money, "bank_account": person.bank_account}
    card = person.card
    if person.other_cards and rng.random() < 0.3:
        card = person.other_cards[int(rng.integers(len(person.other_cards)))]
    return {**money, "card": card}


def change(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    """An honest change of profile, half of the time because there is something to order."""
    rng, session = world.rng, world.tokens.new()
    steps = ("address", "password", "phone", "email", "bank_account")
    events: list[SimulatedEvent] = []
    for i in rng.choice(len(steps), 1 + int(rng.random() < 0.5), replace=False):
        more: dict[str, Any] = {"session": session, "step": steps[i], "outcome": "success"}
        if steps[i] != "password":
            setattr(person, steps[i], world.tokens.new())
            more[steps[i]] = getattr(person, steps[i])
        events.append(stamp(world, person, at_s, "profile_change", **more))
        at_s += float(rng.uniform(15, 90))
    if rng.random() < 0.5:
        events += purchase(world, person, at_s + float(rng.uniform(30, 2400)), session=session)
    return events


def restock(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    """A shopping list worked off on one account: order after order."""
    rng = world.rng
    events: list[SimulatedEvent] = []
    session, t = world.tokens.new(), at_s
    pace = float(rng.uniform(15, 300))
    for _ in range(int(rng.integers(12, 40))):
        events += purchase(world, person, t, at_once=True, session=session)
        t += pace * float(rng.uniform(0.5, 1.5))
    return events


def spree(world: World, person: Person, at_s: float) -> list[SimulatedEvent]:
    """Game credits, tickets, tips: small payments one after the other to one shop, without an order."""
    rng = world.rng
    index = int(rng.choice([i for i, m in enumerate(world.merchants) if m[1] == "digital"]))
    money = {"merchant": world.merchants[index][0], "category": "digital", "currency": "EUR", "card": person.card}
    pace, t = float(rng.uniform(8, 120)), at_s
    events: list[SimulatedEvent] = []
    for _ in range(3 + int(rng.geometric(0.18))):
        amount = round(float(rng.choice((0.99, 1.99, 4.99, 9.99, 14.99, 24.99))), 2)
        failed = {"outcome": "declined", "outcome_code": "issuer"} if rng.random() < 0.04 else {"outcome": "approved"}
        events.append(stamp(world, person, t, "payment", amount=amount, **money, **failed))
        t += pace * float(rng.uniform(0.4, 1.6))
    return events


def day_of(world: World, person: Person, day: int) -> list[SimulatedEvent]:
    """Everything a customer starts on one day."""
    start, rng = day * DAY_S, world.rng
    if person.joined_s >= start + DAY_S:
        return []
    events: list[SimulatedEvent] = []
    if person.joined_s >= start:
        events += signup(world, person, person.joined_s)
        if rng.random() < 0.75:
            gift = world.promos[0] if rng.random() < 0.4 else ""
            first_s = person.joined_s + float(rng.exponential(500)) + 30
            events += visit(world, person, first_s, buy=0.0)
            events += purchase(world, person, first_s + float(rng.uniform(150, 600)), promo=gift)
    for at_s in sorted(start + world.hour_of(person) for _ in range(int(rng.poisson(person.sessions_per_day)))):
        if at_s > person.joined_s + 60:
            resume = person.session if person.stays_in and rng.random() < 0.7 else ""
            seen = visit(world, person, at_s, resume=resume)
            person.session = seen[0].fields["session"] if seen else ""
            events += seen
    if rng.random() < person.restock_share:
        events += restock(world, person, start + world.hour_of(person) * 0.8)
    if person.player and rng.random() < 0.12:
        at_s = start + world.hour_of(person)
        events += spree(world, person, at_s) if at_s > person.joined_s + 60 else []
    if rng.random() < 0.006:
        events += change(world, person, start + world.hour_of(person))
    return events


def shelves(world: World, day: int) -> list[SimulatedEvent]:
    """What shops do in a day: new prices, new stock."""
    rng, events = world.rng, []
    for sku in world.skus:
        merchant = world.merchants[sku.merchant][0]
        if rng.random() < 0.08:
            sku.price = round(sku.price * min(max(float(rng.normal(1.0, 0.12)), 0.6), 1.5), 2)
            events.append(
                _shelf(world, day, "price_change", sku.sku, merchant, unit_price_minor=round(sku.price * 100))
            )
        if rng.random() < 0.15:
            sku.stock = max(0, sku.stock + int(rng.integers(-20, 40)))
            events.append(_shelf(world, day, "stock_change", sku.sku, merchant, stock_after=sku.stock))
    return events


def _shelf(world: World, day: int, kind: str, sku: str, merchant: str, **more: Any) -> SimulatedEvent:
    at_s = day * DAY_S + float(world.rng.uniform(5, 20)) * HOUR_S
    fields = {"event_id": world.tokens.new(), "type": kind, "sku": sku, "merchant": merchant, "currency": None, **more}
    return SimulatedEvent(at_s, {k: v for k, v in fields.items() if v is not None})
