"""The simulated marketplace: people with habits, shops with shelves, and identifiers that tell nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np

HOUR_S, DAY_S = 3600.0, 86_400.0
CITIES = (
    ("DE", 52.5, 13.4, 1), ("DE", 48.1, 11.6, 1), ("FR", 48.9, 2.35, 1), ("ES", 40.4, -3.7, 1), ("IT", 41.9, 12.5, 1),
    ("PL", 52.2, 21.0, 1), ("NL", 52.4, 4.9, 1), ("SE", 59.3, 18.1, 1), ("GB", 51.5, -0.1, 0), ("PT", 38.7, -9.1, 0),
    ("US", 40.7, -74.0, -5), ("BR", -23.5, -46.6, -3), ("JP", 35.7, 139.7, 9), ("SG", 1.35, 103.8, 8),
)  # fmt: skip
"""Country, latitude, longitude, hours from UTC. Customers live in the first ten."""
CATEGORIES = ("grocery", "fashion", "electronics", "books", "toys", "home", "sport", "beauty", "travel", "digital")
AGENTS = ("Chrome/141 Windows", "Safari/19 iPhone", "Chrome/141 Android", "Firefox/140 Linux", "Safari/19 Mac")


class Tokens:
    """Random-looking identifiers from one counter for honest and fraudulent things alike: a keyed hash of a serial
    number, in letters, so that none is ever taken for a card number."""

    _LETTERS = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrstv")

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(8, "little")
        self._serial = 0

    def new(self) -> str:
        self._serial += 1
        return (
            blake2b(self._serial.to_bytes(8, "little"), digest_size=8, key=self._key)
            .hexdigest()
            .translate(self._LETTERS)
        )


@dataclass(slots=True)
class Person:
    """An account and the habits behind it."""

    user: str
    city: tuple[str, float, float, int]
    device: str
    card: str
    address: str
    email: str
    phone: str
    ip: str
    mobile_ip: str
    agent: str
    categories: tuple[str, ...]
    merchants: tuple[int, ...]
    spend_log: float
    spread: float
    sessions_per_day: float
    peak_hour: float
    joined_s: float
    spare_device: str | None = None
    second: tuple[str, str] | None = None
    """Another own device and its browser: sessions begin on either, some move from one to the other."""
    gift_addresses: tuple[str, ...] = ()
    other_cards: tuple[str, ...] = ()
    bank_account: str = ""
    debit: bool = False
    """Whether shopping is paid from the bank account instead of a card."""
    vpn: bool = False
    """Whether some sessions come out of a tunnel's end in another country."""
    stays_in: bool = False
    """Whether sessions are resumed days later, without a login."""
    restock_share: float = 0.0
    """Share of days with a whole shopping list in an hour or two."""
    player: bool = False
    """Whether bits of something digital are bought in bursts, without an order."""
    session: str = ""
    fail_share: float = 0.03
    travels: tuple[tuple[float, float, int], ...] = ()
    """(from, to, city) in seconds of the simulation."""

    def like(self, **changes: Any) -> Person:
        return replace(self, **changes)


@dataclass(slots=True)
class Sku:
    sku: str
    merchant: int
    price: float
    stock: int


@dataclass(slots=True)
class SimulatedEvent:
    """A native record and its truth. `at_s` counts from the start of the simulation."""

    at_s: float
    fields: dict[str, Any]
    fraud: bool = False
    pattern: str = ""
    form: str = ""
    campaign: str = ""


@dataclass(slots=True)
class Group:
    """A true ring or an innocent group."""

    group_id: str
    kind: str
    """Pattern, or the kind of innocent group."""
    form: str
    members: list[str]
    shared: dict[str, list[str]]
    innocent: bool
    first_s: float = math.inf
    last_s: float = 0.0


@dataclass(slots=True)
class World:
    rng: np.random.Generator
    tokens: Tokens
    days: int
    merchants: list[tuple[str, str, float]] = field(default_factory=list)
    """(merchant id, category, price level)."""
    skus: list[Sku] = field(default_factory=list)
    promos: list[str] = field(default_factory=list)
    shelves: dict[int, list[Sku]] = field(default_factory=dict)
    """The articles of each merchant."""
    people: list[Person] = field(default_factory=list)
    carrier_ips: list[str] = field(default_factory=list)
    vpn_ips: list[str] = field(default_factory=list)

    def person(self, joined_s: float, city: tuple[str, float, float, int] | None = None, **fixed: Any) -> Person:
        rng, new = self.rng, self.tokens.new
        values: dict[str, Any] = {
            "user": new(),
            "city": city or CITIES[int(rng.integers(10))],
            "device": new(),
            "card": new(),
            "address": new(),
            "email": new(),
            "phone": new(),
            "ip": new(),
            "mobile_ip": self.carrier_ips[int(rng.integers(len(self.carrier_ips)))],
            "agent": AGENTS[int(rng.integers(len(AGENTS)))],
            "categories": tuple(CATEGORIES[i] for i in rng.choice(len(CATEGORIES), 3, replace=False)),
            "merchants": tuple(int(i) for i in rng.choice(len(self.merchants), 5, replace=False)),
            "spend_log": float(rng.normal(3.4, 0.5)),
            "spread": float(rng.uniform(0.3, 0.7)),
            "sessions_per_day": float(rng.gamma(1.2, 0.35 / 1.2)),
            "peak_hour": float(rng.normal(17.0, 3.5)),
            "joined_s": joined_s,
            "other_cards": tuple(new() for _ in range(int(rng.choice(4, p=(0.62, 0.28, 0.07, 0.03))))),
            "bank_account": new(),
            "debit": bool(rng.random() < 0.1),
            "vpn": bool(rng.random() < 0.05),
            "stays_in": bool(rng.random() < 0.35),
            "player": bool(rng.random() < 0.12),
            "second": (new(), AGENTS[int(rng.integers(len(AGENTS)))]) if rng.random() < 0.3 else None,
        }
        values.update(fixed)
        return Person(**values)

    def hour_of(self, person: Person) -> float:
        """Seconds into a day at which the person is active."""
        local = float(self.rng.normal(person.peak_hour, 2.5))
        return ((local - person.city[3]) % 24.0) * HOUR_S

    def amount(self, person: Person, level: float = 1.0) -> float:
        """What the person spends: around a habit, now and then a trifle or something big."""
        u = self.rng.random()
        factor = self.rng.uniform(0.02, 0.08) if u < 0.06 else self.rng.uniform(3, 9) if u > 0.94 else 1.0
        spent = float(np.exp(self.rng.normal(person.spend_log, person.spread)))
        return round(max(0.5, spent * level * float(factor)), 2)

    def shelf(self, merchant: int, amount: float) -> Sku | None:
        """The merchant's article whose price is nearest to an amount."""
        return min(
            (sku for sku in self.shelves.get(merchant, ())), key=lambda sku: abs(sku.price - amount), default=None
        )


def stamp(world: World, person: Person, at_s: float, kind: str, **more: Any) -> SimulatedEvent:
    """One event of a person with what such an event carries by itself.

    `more` adds or replaces fields, None removes them; `city` is a number of CITIES the event seems to come from.
    """
    city = person.city
    for start, end, there in person.travels:
        if start <= at_s < end:
            city = CITIES[there]
    if (seeming := more.pop("city", None)) is not None:
        city = CITIES[seeming]
    noise = world.rng.normal(0.0, 0.03, 2)
    fields: dict[str, Any] = {
        "event_id": world.tokens.new(),
        "type": kind,
        "user": person.user,
        "device": person.device,
        "ip": person.ip,
        "lat": round(city[1] + float(noise[0]), 4),
        "lon": round(city[2] + float(noise[1]), 4),
        "country": city[0],
        "user_agent": person.agent,
        "channel": "app" if "Phone" in person.agent or "Android" in person.agent else "web",
    }
    fields.update(more)
    return SimulatedEvent(at_s, {k: v for k, v in fields.items() if v is not None})
