"""Geographic impossibility: one account or card in two places at once.

two_hands: an account used in two far cities within the hour. cloned: one card paid with in many countries. hops:
cities 300 to 800 km apart, each hop a little slower than an airliner.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import CITIES, DAY_S


def two_hands(s: Script) -> None:
    for _ in range(max(3, s.size // 2)):
        person = s.victim()
        far = person.like(city=CITIES[s.n(6, 11)], ip=s.world.tokens.new(), device=s.world.tokens.new())
        t = s.start_s + s.u(0, 3) * DAY_S
        for k in range(3):
            s.pay(person, t + 3000 * k, s.u(20, 90))
            s.pay(far, t + 3000 * k + s.u(600, 1800), s.u(90, 420))


def cloned(s: Script) -> None:
    card = s.world.tokens.new()
    s.share("card", card)
    for _ in range(s.size):
        person = s.account(s.start_s + s.u(0, 2) * DAY_S, card=card, city=CITIES[s.n(0, 11)])
        s.pay(person, person.joined_s + s.u(600, 40_000), s.u(60, 380))


def hops(s: Script) -> None:
    for _ in range(max(2, s.size // 3)):
        person, t = s.victim(), s.start_s
        for k in range(6):
            t += s.u(3600, 5400)
            s.pay(person.like(city=CITIES[k % 9], ip=s.world.tokens.new()), t, s.u(60, 260))


FORMS: dict[str, Form] = {"two_hands": two_hands, "cloned": cloned, "hops": hops}
