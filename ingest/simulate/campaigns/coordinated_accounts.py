"""Coordinated accounts: one hand behind many.

burst: accounts opened on one device within hours, each ordering with its own card. slow: one delivery address,
another device each, over ten days. aged: accounts opened weeks before that shop like anybody, then share a pool of
three cards, each from its own ip.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S, HOUR_S


def burst(s: Script) -> None:
    device = s.world.tokens.new()
    s.share("device", device)
    t = s.start_s
    for _ in range(s.size):
        person = s.account(t, device=device)
        s.order(person, t + s.u(300, 3000), s.u(60, 260))
        t += s.u(400, 2.0 * HOUR_S)


def slow(s: Script) -> None:
    address = s.world.tokens.new()
    s.share("address", address)
    for i in range(s.size):
        t = s.start_s + (i + s.u(0, 1)) * 10 * DAY_S / s.size
        person = s.account(t, address=address)
        s.order(person, t + s.u(600, 20_000), s.u(60, 260))


def aged(s: Script) -> None:
    cards = [s.world.tokens.new() for _ in range(3)]
    s.share("card", *cards)
    people = [s.aged_account(s.u(8, 14)) for _ in range(s.size)]
    for i, person in enumerate(people):
        for k in range(2):
            s.order(person.like(card=cards[(i + k) % 3]), s.start_s + s.u(0, 2) * DAY_S, s.u(50, 220))


FORMS: dict[str, Form] = {"burst": burst, "slow": slow, "aged": aged}
