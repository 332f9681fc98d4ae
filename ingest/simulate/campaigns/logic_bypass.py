"""Business-logic bypass: doing what the pages would not let you do.

skipped_steps: paid orders without cart and checkout. phantom_refund: refunds of orders that never were.
tampered_price: the order's amount is a tenth of unit price times quantity.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S


def skipped_steps(s: Script) -> None:
    device = s.world.tokens.new()
    s.share("device", device)
    for _ in range(s.size):
        person = s.account(s.start_s + s.u(0, 3) * DAY_S, device=device)
        t, session = person.joined_s + s.u(200, 5000), s.world.tokens.new()
        s.do(person, t, "login", outcome="success", session=session)
        s.pay(person, t + 4, s.u(60, 400), session=session)


def phantom_refund(s: Script) -> None:
    bank = s.world.tokens.new()
    s.share("bank_account", bank)
    for _ in range(max(3, s.size // 2)):
        person = s.aged_account(s.u(3, 9))
        for k in range(3):
            merchant = s.world.merchants[person.merchants[0]][0]
            s.do(person, s.start_s + (k + s.u(0, 0.8)) * DAY_S, "refund", amount=round(s.u(40, 220), 2), currency="EUR",
                 bank_account=bank, order_id=s.world.tokens.new(), merchant=merchant, outcome="success")  # fmt: skip


def tampered_price(s: Script) -> None:
    address = s.world.tokens.new()
    s.share("address", address)
    for _ in range(s.size):
        sku = s.world.skus[s.n(0, len(s.world.skus) - 1)]
        person = s.account(s.start_s + s.u(0, 4) * DAY_S, address=address)
        more = {"sku": sku.sku, "unit_price_minor": round(sku.price * 100)}
        s.order(person, person.joined_s + s.u(300, 9000), max(1.0, sku.price * 0.1), **more)


FORMS: dict[str, Form] = {
    "skipped_steps": skipped_steps,
    "phantom_refund": phantom_refund,
    "tampered_price": tampered_price,
}
