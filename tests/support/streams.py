"""Made-up streams for tests: many kinds of events and labels, ties and late ones among them, from a seed."""

from __future__ import annotations

import random

from features.columns import Applied, ResolvedLabel
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Event, Label, type_names

START_US = 1_700_000_000_000_000


def payment(n: int, at_us: int, **more: object) -> Event:
    fields: dict[str, object] = {"event_id": f"e{n}", "type": "payment", "at_us": at_us, "entities": {"user": "u"}}
    return Event(**{**fields, **more})  # type: ignore[arg-type]


def stream(seed: int, n: int, *, users: int = 40, labels: bool = True, late: bool = True) -> list[Applied]:
    """Events with shared devices, cards, ips and merchants; labels resolved to the event they are about."""
    rng = random.Random(seed)
    at_us, items, events = START_US, [], []
    for i in range(n):
        at_us += rng.choice([0, 1, 1000, MINUTE_US, 20 * MINUTE_US, rng.randrange(3 * HOUR_US)])
        when = at_us - rng.choice([0, 0, 0, HOUR_US, 3 * DAY_US]) if late else at_us
        user = rng.randrange(users)
        entities = {"user": f"u{user}"}
        if rng.random() < 0.9:
            entities |= {"device": f"d{user // 3}", "card": f"c{rng.randrange(users)}"}
        if rng.random() < 0.7:
            entities |= {"ip": f"i{user % 3}", "merchant": f"m{rng.randrange(8)}"}
        if rng.random() < 0.05:
            entities = {"sku": f"s{rng.randrange(5)}", "merchant": "m1"}
        event = Event(
            event_id=f"{seed}-{i}",
            type=rng.choice(type_names),
            at_us=when,
            entities=entities,
            amount_minor=rng.choice([None, 0, 100, rng.randrange(1, 10**6), 2**53]),
            outcome=rng.choice([None, "approved", "declined", "failed"]),
            category=rng.choice([None, "a", "b", "c"]),
            country=rng.choice([None, "DE", "FR"]),
            lat=50.0 + rng.random(),
            lon=rng.uniform(-180, 180),
        )
        items.append(event)
        events.append(event)
        if labels and rng.random() < 0.1:
            about = rng.choice(events)
            verdict = rng.choice(["fraud", "good"])
            items.append(ResolvedLabel(Label("event", about.event_id, verdict, at_us), about.entities))  # type: ignore[arg-type]
    return items
