"""Card testing: which of these stolen numbers still work?

machine: one device runs through many cards with tiny amounts, most declined. spread: many accounts and ips, one
shop, a card or two each. patient: old accounts at one address, another card every few days, above the usual test
amounts, and a large payment on what worked.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S


def _try(s: Script, person: object, t: float, amount: float, merchant: int) -> bool:
    worked = s.u(0, 1) < 0.25
    outcome = {"outcome": "approved"} if worked else {"outcome": "declined", "outcome_code": "do_not_honour"}
    s.pay(person, t, amount, merchant=merchant, **outcome)  # type: ignore[arg-type]
    return worked


def machine(s: Script) -> None:
    person = s.account(s.start_s)
    s.share("device", person.device)
    t = s.start_s + 600
    for _ in range(4 * s.size):
        _try(s, person.like(card=s.world.tokens.new()), t, s.u(0.5, 2.5), person.merchants[0])
        t += s.u(5, 90)


def spread(s: Script) -> None:
    merchant = s.n(0, len(s.world.merchants) - 1)
    for _ in range(2 * s.size):
        person = s.account(s.start_s + s.u(0, 1) * DAY_S)
        t = person.joined_s + s.u(60, 600)
        for _ in range(s.n(1, 2)):
            _try(s, person.like(card=s.world.tokens.new()), t, s.u(1.5, 6.0), merchant)
            t += s.u(20, 300)


def patient(s: Script) -> None:
    address = s.world.tokens.new()
    s.share("address", address)
    people = [s.aged_account(s.u(6, 12), address=address, other_cards=()) for _ in range(s.size)]
    for person in people:
        for k in range(2):
            tried = person.like(card=s.world.tokens.new())
            t = s.start_s + (3 * k + s.u(0.3, 2.9)) * DAY_S
            if _try(s, tried, t, s.u(5, 15), s.n(0, len(s.world.merchants) - 1)):
                s.pay(tried, t + s.u(2000, 9000), s.u(150, 400), address=address)


FORMS: dict[str, Form] = {"machine": machine, "spread": spread, "patient": patient}
