"""Velocity: more than a person does.

burst: dozens of payments in minutes. steady: nine payments an hour, under a limit of ten, in several hours of two
days. carousel: many shops in turn, from several accounts on one card.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import HOUR_S


def burst(s: Script) -> None:
    for _ in range(2):
        person = s.aged_account(s.u(3, 9))
        t = s.start_s
        for _ in range(2 * s.size):
            t += s.u(4, 45)
            s.pay(person, t, s.u(20, 120), merchant=person.merchants[s.n(0, 4)])


def steady(s: Script) -> None:
    person = s.aged_account(s.u(5, 12))
    for k in range(5):
        hour_s = s.start_s + (10 * k + s.n(0, 8)) * HOUR_S
        for i in range(9):
            s.pay(person, hour_s + 400 * i + s.u(0, 100), s.u(25, 95), merchant=person.merchants[s.n(0, 4)])


def carousel(s: Script) -> None:
    card = s.world.tokens.new()
    s.share("card", card)
    people = [s.aged_account(s.u(3, 8), card=card) for _ in range(max(3, s.size // 3))]
    for k in range(5 * s.size):
        person = people[k % len(people)]
        t = s.start_s + k * s.u(200, 500)
        s.pay(person, t, s.u(20, 140), merchant=s.n(0, len(s.world.merchants) - 1))


FORMS: dict[str, Form] = {"burst": burst, "steady": steady, "carousel": carousel}
