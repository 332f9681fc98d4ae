"""Innocents who look like rings: for each kind, as many groups as there are true rings.

Some are ways of living (a family on one device and card, flats and campuses on one address, offices and carrier NATs
on one ip, resellers, gift senders), some are things that happen once (a shop's tablet day, a journey, a flash sale,
a new phone, a broken card terminal).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingest.simulate.habits import change, purchase, visit
from ingest.simulate.world import DAY_S, Group, Person, SimulatedEvent, World, stamp


def settle(world: World, groups: int) -> list[Group]:
    """Give customers their shared things, before the first day. Changes `world.people` in place."""
    made: list[Group] = []
    for kind, size, kinds in (
        ("family", (2, 5), ("device", "card", "address", "ip", "phone", "bank_account")),
        ("flat", (4, 10), ("address",)),
        ("campus", (10, 25), ("address", "ip")),
        ("office", (5, 15), ("ip",)),
    ):
        for i in range(groups):
            n = int(world.rng.integers(size[0], size[1] + 1))
            chosen = world.rng.choice(len(world.people), n, replace=False)
            things = {k: world.tokens.new() for k in kinds}
            city = world.people[int(chosen[0])].city
            for j in chosen:
                person = world.people[int(j)]
                person.city = city
                if kind == "family":
                    person.spare_device, person.card = things["device"], things["card"]
                    person.address, person.ip = things["address"], things["ip"]
                    person.phone, person.bank_account = things["phone"], things["bank_account"]
                else:
                    for k, value in things.items():
                        setattr(person, k, value)
            members = [world.people[int(j)].user for j in chosen]
            shared = {k: [v] for k, v in things.items()}
            made.append(Group(f"innocent-{kind}-{i}", kind, "", members, shared, innocent=True))
    for i in range(groups):
        person = world.people[int(world.rng.integers(len(world.people)))]
        person.gift_addresses = tuple(world.tokens.new() for _ in range(5))
        made.append(Group(f"innocent-gift-{i}", "gift_sender", "", [person.user], {}, innocent=True))
        person = world.people[int(world.rng.integers(len(world.people)))]
        person.sessions_per_day = max(person.sessions_per_day, 1.5)
        person.spend_log += 0.7
        person.restock_share = 0.08
        made.append(Group(f"innocent-reseller-{i}", "reseller", "", [person.user], {}, innocent=True))
        person = world.people[int(world.rng.integers(len(world.people)))]
        start = float(world.rng.uniform(0, max(1, world.days - 6))) * DAY_S
        person.travels = ((start, start + float(world.rng.uniform(2, 6)) * DAY_S, int(world.rng.integers(14))),)
        made.append(Group(f"innocent-traveller-{i}", "traveller", "", [person.user], {}, innocent=True))
    for i, ip in enumerate(world.carrier_ips):
        users = [p.user for p in world.people if p.mobile_ip == ip]
        made.append(Group(f"innocent-nat-{i}", "carrier_nat", "", users, {"ip": [ip]}, innocent=True))
    return made


Happening = Callable[[World, float], tuple[list[SimulatedEvent], list[Person], dict[str, list[str]]]]


def _some(world: World, n: int, at_s: float) -> list[Person]:
    there = [p for p in world.people if p.joined_s < at_s] or world.people
    return [there[int(i)] for i in world.rng.choice(len(there), min(n, len(there)), replace=False)]


def tablet(world: World, at_s: float) -> tuple[list[SimulatedEvent], list[Person], dict[str, list[str]]]:
    """A shop's own tablet: regular customers order on it through a day."""
    device, ip = world.tokens.new(), world.tokens.new()
    people = _some(world, int(world.rng.integers(5, 15)), at_s)
    events: list[SimulatedEvent] = []
    for person in people:
        events += visit(world, person, at_s + float(world.rng.uniform(0, 0.4)) * DAY_S, buy=0.9, device=device, ip=ip)
    return events, people, {"device": [device], "ip": [ip]}


def flash_sale(world: World, at_s: float) -> tuple[list[SimulatedEvent], list[Person], dict[str, list[str]]]:
    """Half an hour of a low price: many buy the same thing at once."""
    sku = world.skus[int(world.rng.integers(len(world.skus)))]
    merchant, category, _ = world.merchants[sku.merchant]
    people = _some(world, int(world.rng.integers(10, 25)), at_s)
    fields = {"event_id": world.tokens.new(), "type": "price_change", "sku": sku.sku, "merchant": merchant,
              "unit_price_minor": round(sku.price * 60)}  # fmt: skip
    events = [SimulatedEvent(at_s, fields)]
    for person in people:
        t = at_s + float(world.rng.uniform(60, 1800))
        session = world.tokens.new()
        more: dict[str, Any] = {"sku": sku.sku, "merchant": merchant, "category": category, "session": session}
        events.append(stamp(world, person, t - 30, "login", outcome="success", session=session))
        events += purchase(world, person, t, amount=round(sku.price * 0.6, 2), **more)
    return events, people, {"sku": [sku.sku]}


def new_phone(world: World, at_s: float) -> tuple[list[SimulatedEvent], list[Person], dict[str, list[str]]]:
    """A new phone: new device, a changed profile, and shopping goes on."""
    (person,) = _some(world, 1, at_s)
    person.device = world.tokens.new()
    events = [stamp(world, person, at_s, "login", outcome="success"), *change(world, person, at_s + 200)]
    events += visit(world, person, at_s + 4000, buy=1.0)
    return events, [person], {}


def broken_terminal(world: World, at_s: float) -> tuple[list[SimulatedEvent], list[Person], dict[str, list[str]]]:
    """A shop's terminal declines everybody for an hour; people try again."""
    merchant, category, level = world.merchants[int(world.rng.integers(len(world.merchants)))]
    people = _some(world, int(world.rng.integers(5, 12)), at_s)
    events: list[SimulatedEvent] = []
    for person in people:
        t, amount = at_s + float(world.rng.uniform(0, 3600)), world.amount(person, level)
        tries = int(world.rng.integers(2, 6))
        for k in range(tries + 1):
            outcome = {"outcome": "declined", "outcome_code": "timeout"} if k < tries else {"outcome": "approved"}
            money = {
                "merchant": merchant,
                "category": category,
                "amount": amount,
                "currency": "EUR",
                "card": person.card,
            }
            events.append(stamp(world, person, t, "payment", **money, **outcome))
            t += float(world.rng.uniform(15, 200))
    return events, people, {"merchant": [merchant]}


HAPPENINGS: dict[str, Happening] = {
    "shop_tablet": tablet, "flash_sale": flash_sale, "new_phone": new_phone, "retry_storm": broken_terminal,
}  # fmt: skip
