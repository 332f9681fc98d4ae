"""Promotion abuse: a gift for new customers, taken many times.

farm: accounts opened on one device, each redeems. household: one address, fresh devices, one a day. referral: each
account redeems from its own device, paid with two cards in turn, amounts just above the promotion's minimum.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S, Person


def _redeem(s: Script, person: Person, t: float, amount: float) -> None:
    promo = s.world.promos[0]
    merchant = s.world.merchants[person.merchants[0]][0]
    session = s.world.tokens.new()
    s.do(person, t, "promo_redeem", promo=promo, merchant=merchant, session=session, outcome="success")
    s.order(person, t + 20, amount)


def farm(s: Script) -> None:
    device = s.world.tokens.new()
    s.share("device", device)
    t = s.start_s
    for _ in range(s.size):
        person = s.account(t, device=device)
        _redeem(s, person, t + s.u(60, 900), s.u(11, 18))
        t += s.u(300, 5000)


def household(s: Script) -> None:
    address = s.world.tokens.new()
    s.share("address", address)
    for i in range(s.size):
        person = s.account(s.start_s + (i + s.u(0, 0.9)) * DAY_S, address=address)
        _redeem(s, person, person.joined_s + s.u(100, 4000), s.u(11, 20))


def referral(s: Script) -> None:
    cards = [s.world.tokens.new() for _ in range(2)]
    s.share("card", *cards)
    for i in range(s.size):
        person = s.account(s.start_s + s.u(0, 6) * DAY_S, card=cards[i % 2])
        _redeem(s, person, person.joined_s + s.u(600, 30_000), 10.0 + s.u(0.05, 0.5))


FORMS: dict[str, Form] = {"farm": farm, "household": household, "referral": referral}
