"""Inventory and price manipulation.

hoard: holds on the whole stock of one article, again and again, never bought. insider: a price drops, linked
accounts buy at once, the price is put back. churn: orders that empty the stock and are sent back days later.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S, SimulatedEvent


def _price(s: Script, sku: str, merchant: str, at_s: float, price: float) -> None:
    fields = {"event_id": s.world.tokens.new(), "type": "price_change", "sku": sku, "merchant": merchant,
              "unit_price_minor": round(price * 100)}  # fmt: skip
    s.fraud([SimulatedEvent(at_s, fields)])


def hoard(s: Script) -> None:
    sku = s.world.skus[s.n(0, len(s.world.skus) - 1)]
    merchant = s.world.merchants[sku.merchant][0]
    device = s.world.tokens.new()
    s.share("device", device)
    people = [s.account(s.start_s + s.u(0, 0.2) * DAY_S, device=device) for _ in range(max(3, s.size // 2))]
    for person in people:
        for k in range(6):
            t = person.joined_s + 900 + k * s.u(1500, 2400)
            s.do(
                person,
                t,
                "cart_hold",
                sku=sku.sku,
                merchant=merchant,
                quantity=s.n(4, 12),
                session=s.world.tokens.new(),
            )


def insider(s: Script) -> None:
    sku = s.world.skus[s.n(0, len(s.world.skus) - 1)]
    merchant, category, _ = s.world.merchants[sku.merchant]
    address = s.world.tokens.new()
    s.share("address", address)
    people = [s.aged_account(s.u(4, 9), address=address) for _ in range(s.size)]
    _price(s, sku.sku, merchant, s.start_s, sku.price * 0.2)
    for person in people:
        more = {"sku": sku.sku, "merchant": merchant, "category": category}
        s.order(person, s.start_s + s.u(30, 1500), 3 * sku.price * 0.2, **more)
    _price(s, sku.sku, merchant, s.start_s + 2400, sku.price)


def churn(s: Script) -> None:
    sku = s.world.skus[s.n(0, len(s.world.skus) - 1)]
    merchant, category, _ = s.world.merchants[sku.merchant]
    card = s.world.tokens.new()
    s.share("card", card)
    for _ in range(max(3, s.size // 2)):
        person = s.account(s.start_s + s.u(0, 1) * DAY_S, card=card)
        for _ in range(2):
            t, order = person.joined_s + s.u(0.05, 1) * DAY_S, s.world.tokens.new()
            more = {"sku": sku.sku, "merchant": merchant, "category": category}
            s.order(person, t, sku.price * s.n(5, 9), **more)
            s.do(person, t + s.u(2, 4) * DAY_S, "refund", amount=sku.price, currency="EUR", card=card, order_id=order,
                 outcome="success", **more)  # fmt: skip


FORMS: dict[str, Form] = {"hoard": hoard, "insider": insider, "churn": churn}
