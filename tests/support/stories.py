"""Small scripted stories for the fraud patterns: what thieves do, and what honest people do that looks a little like it.

Minutes from the start of the story; before it lie two months of an ordinary market.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.model import BUILTIN_KINDS, MINUTE_US, Event
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
START_US = 1_780_300_800_000_000
"""2026-06-01T08:00:00Z"""
HOUR, DAY = 60.0, 1440.0
_KINDS = frozenset(k.name for k in BUILTIN_KINDS)
PLACES = {
    "Hamburg": (53.55, 9.99, "DE"), "Lyon": (45.76, 4.84, "FR"), "Warsaw": (52.23, 21.01, "PL"),
    "Lagos": (6.52, 3.38, "NG"), "Porto": (41.15, -8.61, "PT"), "Athens": (37.98, 23.73, "GR"),
}  # fmt: skip


@dataclass
class Story:
    """Events in order of telling; `marks` names those a test asks about."""

    events: list[Event] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)

    def do(self, minute: float, type_: str, user: str | None, mark: str = "", place: str = "", **more: Any) -> None:
        """An event; arguments that are kinds become entities, `amount` and `price` are minor units."""
        entities = {} if user is None else {"user": user}
        entities |= {k: more.pop(k) for k in list(more) if k in _KINDS}
        for short, name in (("amount", "amount_minor"), ("price", "unit_price_minor"), ("agent", "user_agent")):
            if short in more:
                more[name] = more.pop(short)
        if place:
            more["lat"], more["lon"], more["country"] = PLACES[place]
        event_id = f"s{len(self.events)}"
        if mark:
            self.marks[mark] = event_id
        self.events.append(Event(event_id, type_, START_US + round(minute * MINUTE_US), entities, **more))

    def buy(self, minute: float, user: str, amount: int, *, mark: str = "", **more: Any) -> None:
        """An order (marked "<mark> order") and its payment two minutes later (marked)."""
        more = {"amount": amount, "order_id": f"{user}@{minute}", "merchant": "shop", **more}
        self.do(minute, "order", user, f"{mark} order" if mark else "", **more)
        self.do(minute + 2, "payment", user, mark, outcome="approved", **more)

    def customer(self, user: str, days_old: float, buys: int = 3, **instead: Any) -> dict[str, str]:
        """An account of long standing with its own things, which has bought before; its things."""
        things = {**own(user), **instead}
        self.do(-days_old * DAY, "signup", user, **things)
        for n in range(buys):
            self.buy((-days_old + (n + 1) * days_old / (buys + 1)) * DAY, user, 4500 + 700 * n, **things)
        return things

    def market(self, customers: int = 24) -> Story:
        """Ordinary customers, so that the stream knows sign-ups and the shop's payments follow orders."""
        for n in range(customers):
            self.customer(f"market{n}", 40 + n % 20 + n / 24, buys=2)
        return self


def own(user: str) -> dict[str, str]:
    """What a person has alone."""
    return {"device": f"{user}-phone", "card": f"{user}-card", "address": f"{user}-home", "ip": f"{user}-net"}


@dataclass(frozen=True)
class Told:
    """A story as the service saw it."""

    story: Story
    decisions: Decisions

    def row(self, mark: str) -> int:
        return next(n for n, e in enumerate(self.decisions.events) if e.event_id == self.story.marks[mark])

    def patterns(self, mark: str) -> tuple[str, ...]:
        return self.decisions.patterns[self.row(mark)]

    def accounts(self, mark: str) -> tuple[str, ...]:
        return self.decisions.accounts[self.row(mark)]

    def text(self, mark: str, code: str) -> str:
        """The words of one reason; empty without it."""
        return next((r.text for r in self.decisions.reasons[self.row(mark)] if r.code == code), "")

    def named(self) -> list[tuple[str, str | None, tuple[str, ...]]]:
        """(type, user, patterns) of every event that was named something."""
        rows = zip(self.decisions.events, self.decisions.patterns, strict=True)
        return [(e.type, e.user, patterns) for e, patterns in rows if patterns]


def new_stream() -> ScoringStream:
    assessor = Assessor(build_scorers(), Policy(), SCHEMA)
    return ScoringStream(MemoryState(SCHEMA, max_entities=5000), assessor, RingKeeper(SCHEMA))


def in_time(events: Iterable[Event]) -> list[tuple[int, Event]]:
    return list(enumerate(sorted(events, key=lambda e: e.at_us)))


def tell(story: Story) -> Told:
    """Through state, rings and all scorers with the policy that is built in."""
    return Told(story, new_stream().feed(in_time(story.events)))


# -- account takeover


def taken_over() -> Story:
    """Three wrong passwords, then the right one; e-mail and phone changed; goods to a parcel locker."""
    s = Story().market()
    mine = s.customer("anna", 90, buys=5)
    there = {"device": "thief-laptop", "ip": "thief-net"}
    for n in range(3):
        s.do(n, "login", "anna", outcome="failed", **there)
    s.do(4, "login", "anna", "in", outcome="success", **there)
    s.do(6, "profile_change", "anna", "first", **there)
    s.do(9, "profile_change", "anna", "second", **there)
    s.buy(25, "anna", 68_000, mark="spent", **{**mine, **there, "address": "locker-7"})
    return s


def guessed() -> Story:
    """Known ip (a flat mate's), new device: wrong password twice, one change, a purchase to a new address."""
    s = Story().market()
    mine = s.customer("bela", 70)
    there = {**mine, "device": "other-laptop"}
    for n in range(2):
        s.do(3 * n, "login", "bela", outcome="failed", device="other-laptop", ip=mine["ip"])
    s.do(8, "profile_change", "bela", "changed", device="other-laptop", ip=mine["ip"])
    s.buy(20, "bela", 31_000, mark="spent", **{**there, "address": "locker-9"})
    return s


def serial_takeover(victims: int = 4, days_old: float = 60) -> Story:
    """One laptop goes through old accounts, one an hour, network and parcel locker switched each time."""
    s = Story().market()
    for n in range(victims):
        mine = s.customer(f"victim{n}", days_old * (1 + n / 9))
        there = {"device": "burner", "ip": f"exit-{n}"}
        s.do(HOUR * n, "login", f"victim{n}", outcome="failed", **there)
        s.do(HOUR * n + 2, "login", f"victim{n}", outcome="success", **there)
        s.do(HOUR * n + 5, "profile_change", f"victim{n}", f"change{n}", **there)
        s.buy(HOUR * n + 8, f"victim{n}", 26_000, mark=f"loot{n}", **{**mine, **there, "address": f"locker-{n}"})
    return s


def serial_drop(victims: int = 4, device: str = "clean-{}") -> Story:
    """A clean phone for every account, or one for all, and all goods go to one flat."""
    s = Story().market()
    for n in range(victims):
        mine = s.customer(f"robbed{n}", 50 + 9 * n)
        there = {**mine, "device": device.format(n), "ip": f"mobile-{n}", "address": "empty-flat"}
        s.do(DAY * n, "login", f"robbed{n}", device=there["device"], ip=f"mobile-{n}", outcome="success")
        s.buy(DAY * n + 15, f"robbed{n}", 24_000, mark=f"drop{n}", **there)
    return s


def new_phone() -> Story:
    """A new phone at home: a mistyped password, one change, and an order home."""
    s = Story().market()
    mine = {**s.customer("cleo", 120, buys=6), "device": "cleo-new-phone"}
    s.do(0, "login", "cleo", outcome="failed", device=mine["device"], ip=mine["ip"])
    s.do(1, "login", "cleo", outcome="success", device=mine["device"], ip=mine["ip"])
    s.do(5, "profile_change", "cleo", device=mine["device"], ip=mine["ip"])
    s.buy(30, "cleo", 5200, **mine)
    return s


def shop_tablet(people: int = 7) -> Story:
    """Old customers at the counter: one tablet, the shop's network, their own cards and addresses."""
    s = Story().market()
    for n in range(people):
        mine = s.customer(f"regular{n}", 45 + 6 * n)
        counter = {**mine, "device": "counter-tablet", "ip": "counter-net"}
        s.do(
            25 * n, "login", f"regular{n}", outcome="success", device="counter-tablet", ip="counter-net", agent="Kiosk"
        )
        s.buy(25 * n + 5, f"regular{n}", 3800 + 150 * n, agent="Kiosk", **counter)
    return s


def undecided_beginner() -> Story:
    """On its second day: another device, e-mail and address mended, a first order."""
    s = Story().market()
    mine = own("dora")
    s.do(0, "signup", "dora", device=mine["device"], ip=mine["ip"])
    there = {**mine, "device": "dora-laptop", "ip": "dora-work"}
    s.do(1.5 * DAY, "profile_change", "dora", device=there["device"], ip=there["ip"])
    s.do(1.5 * DAY + 3, "profile_change", "dora", device=there["device"], ip=there["ip"])
    s.buy(1.5 * DAY + 20, "dora", 4100, **there)
    return s


# -- card testing


def many_cards() -> Story:
    """An old account's device tries six numbers in a quarter of an hour, most of them dead."""
    s = Story().market()
    s.customer("emil", 80)
    for n, outcome in enumerate(("declined", "declined", "approved", "declined", "declined", "approved")):
        s.do(2.5 * n, "payment", "emil", f"try{n}", device="emil-phone", ip="emil-net", card=f"dead{n}", amount=100 + 50 * n,
             outcome=outcome, merchant="charity")  # fmt: skip
    return s


def fresh_testers(n: int = 5, merchant: str = "shop", outcome: str = "approved") -> Story:
    """Accounts opened for one tiny payment each, never an order (at a charity, where nobody orders, they are donors)."""
    s = Story().market()
    for k in range(n):
        mine = {"device": f"vm{k}", "ip": f"proxy{k}"}
        s.do(37 * k, "signup", f"throwaway{k}", **mine)
        tiny = {**mine, "card": f"dump{k}", "amount": 199, "merchant": merchant, "outcome": outcome}
        s.do(37 * k + 6, "payment", f"throwaway{k}", f"pay{k}", **tiny)
    return s


def patient_tester() -> Story:
    """An old account, a card every other day, each with something small and no order; then 900.00 on the one that worked."""
    s = Story().market()
    paid = {**s.customer("fritz", 100), "merchant": "shop", "outcome": "approved"}
    for n in range(3):
        s.do(2 * DAY * n, "payment", "fritz", f"small{n}", **{**paid, "card": f"bought{n}"}, amount=1100)
    s.do(4 * DAY + 90, "payment", "fritz", "big", **{**paid, "card": "bought2"}, amount=90_000)
    return s


def broken_terminal() -> Story:
    """For half an hour the shop declines what everybody pays as usual with the card they always use."""
    s = Story().market()
    for n in range(8):
        mine = s.customer(f"patron{n}", 50 + n)
        for k in range(3):
            s.do(3 * n + k, "payment", f"patron{n}", **mine, amount=4400 + 90 * n, outcome="declined", merchant="shop")
    return s


def first_order() -> Story:
    """New customers who order something cheap and pay it with their card."""
    s = Story().market()
    for n in range(4):
        s.do(90 * n, "signup", f"beginner{n}", **own(f"beginner{n}"))
        s.buy(90 * n + 12, f"beginner{n}", 790, **own(f"beginner{n}"))
    return s


# -- coordinated accounts, and who lives together


def farm(n: int = 5) -> Story:
    """Accounts opened over an afternoon on one phone; other cards and addresses."""
    s = Story().market()
    for k in range(n):
        mine = {**own(f"farm{k}"), "device": "farm-phone"}
        s.do(40 * k, "signup", f"farm{k}", device="farm-phone", ip=mine["ip"])
        s.buy(40 * k + 15, f"farm{k}", 7700 + 310 * k, mark=f"farm{k}", **mine)
    return s


def card_pool(n: int = 5) -> Story:
    """Old accounts, strangers to each other, that all come to one card within a week and leave their own."""
    s = Story().market()
    for k in range(n):
        mine = s.customer(f"mule{k}", 60 + 8 * k)
        s.buy(1.2 * DAY * k, f"mule{k}", 12_500, mark=f"mule{k}", **{**mine, "card": "pooled"})
    return s


def strangers_card() -> Story:
    """A card that appeared two days ago, and a second old account orders with it."""
    s = Story().market()
    for k in range(2):
        mine = s.customer(f"buyer{k}", 55 + 20 * k)
        s.buy(1.6 * DAY * k, f"buyer{k}", 18_000, mark=f"buyer{k}", **{**mine, "card": "traded"})
    return s


def family(*, at_once: bool) -> Story:
    """Four people share card, address, tablet and phone number; accounts over years, or all on one evening."""
    s = Story().market()
    home = {"device": "tablet", "card": "household-card", "address": "house", "phone": "landline", "ip": "house-net"}
    for k, name in enumerate(("mum", "dad", "kid1", "kid2")):
        begins = 25 * k if at_once else (-120 + 30 * k) * DAY
        s.do(begins, "signup", name, **home)
        for m in range(3):
            s.buy(begins + (m + 0.01) * 4 * DAY, name, 3900 + 240 * k, **home)
    return s


def campus(people: int = 12) -> Story:
    """One address, students come and go over a year; everything else is their own."""
    s = Story().market()
    for k in range(people):
        s.customer(f"student{k}", 330 - 26 * k, address="campus", buys=4)
        s.buy(20 * k, f"student{k}", 2600 + 80 * k, **{**own(f"student{k}"), "address": "campus"})
    return s


# -- two places at once


def two_places(crowd: int = 0) -> Story:
    """Paid in Hamburg at noon; twenty minutes later at work in Lagos, from a device nobody knows. At an ip of a crowd it is
    the end of a tunnel, and says nothing."""
    s = Story().market()
    for n in range(crowd):
        s.do(-5 * DAY + n, "login", f"market{n}", device=f"market{n}-phone", ip="lagos-net", outcome="success")
    mine = s.customer("hanno", 95)
    s.buy(0, "hanno", 4300, place="Hamburg", **mine)
    there = {**mine, "device": "lagos-box", "ip": "lagos-net"}
    s.do(22, "login", "hanno", "far", place="Lagos", device="lagos-box", ip="lagos-net", outcome="success")
    s.buy(30, "hanno", 39_000, mark="paid far", place="Lagos", **there)
    return s


def chain_of_cities() -> Story:
    """One account in five cities in nine hours, each time from another home network."""
    s = Story().market()
    s.customer("ines", 64)
    for n, place in enumerate(("Hamburg", "Porto", "Warsaw", "Athens", "Lyon")):
        s.do(2.2 * HOUR * n, "login", "ines", place, place=place, device="ines-phone", ip=f"bot{n}", outcome="success")
    return s


def cloned_card() -> Story:
    """A card of Hamburg; within days accounts opened in two other countries pay with it."""
    s = Story().market()
    for k, place in enumerate(("Hamburg", "Warsaw", "Porto")):
        mine = {**own(f"clone{k}"), "card": "cloned"}
        s.do(0.7 * DAY * k, "signup", f"clone{k}", place=place, device=mine["device"], ip=mine["ip"])
        s.buy(0.7 * DAY * k + 40, f"clone{k}", 9900, mark=place, place=place, **mine)
    return s


def tunnel() -> Story:
    """The phone's tunnel is switched on and off all day: Hamburg, Porto, Hamburg, ..."""
    s = Story().market()
    mine = s.customer("jan", 88)
    for n in range(9):
        place, ip = ("Porto", "tunnel-end") if n % 2 else ("Hamburg", mine["ip"])
        s.do(35 * n, "session_step", "jan", place=place, device=mine["device"], ip=ip)
    s.buy(360, "jan", 4700, place="Porto", **{**mine, "ip": "tunnel-end"})
    return s


def business_flight() -> Story:
    """A meeting in Warsaw, dinner in Athens: five hours from door to door, the networks of lounges and hotels."""
    s = Story().market()
    mine = s.customer("lena", 110)
    for n, place in enumerate(("Hamburg", "Warsaw", "Athens")):
        there = {**mine, "ip": f"lounge{n}"}
        s.do(5 * HOUR * n, "login", "lena", place=place, device=mine["device"], ip=there["ip"], outcome="success")
        s.buy(5 * HOUR * n + 4, "lena", 3600, place=place, **there)
    return s


def traveller() -> Story:
    """Flies with the own phone: three cities, each a day after the other, hotel networks, a card paid with abroad."""
    s = Story().market()
    mine = s.customer("kira", 130)
    for n, place in enumerate(("Hamburg", "Athens", "Lagos")):
        s.buy(n * 20 * HOUR, "kira", 5400, place=place, **{**mine, "ip": f"hotel{n}"})
        s.buy(n * 20 * HOUR + 90, "kira", 2100, place=place, **{**mine, "ip": f"cafe{n}"})
    return s
