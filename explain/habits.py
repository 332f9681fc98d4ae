"""What is usual for the entities of an event themselves, read back from its own features: these hold the event against the entity's past."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from ringwatch.model import Event


class Habit(msgspec.Struct, frozen=True):
    """What happened beside what is usual for one entity."""

    kind: str
    entity: str
    what: str
    """amount, events_24h, hour_share, category_share or country_changed."""
    value: float
    usual: float | None
    """None where the value speaks for itself: a share of its past."""
    text: str


def habits_of(event: Event, features: Mapping[str, float]) -> tuple[Habit, ...]:
    """`features`: those that are not missing. Amounts are in minor units."""
    found: list[Habit] = []
    for kind, id_ in event.entities.items():

        def add(what: str, value: float, usual: float | None, text: str, of: tuple[str, str] = (kind, id_)) -> None:
            found.append(Habit(*of, what, value, usual, text))

        def got(name: str, of: str = kind) -> float | None:
            return features.get(f"{of}.{name}")

        ratio, amount = got("amount_median_ratio"), features.get("event.amount_minor")
        if ratio is not None and amount is not None and amount > 0.0:
            usual = (amount + 1.0) / math.exp(ratio) - 1.0
            add(
                "amount",
                amount,
                usual,
                f"amount {amount:,.0f}, the median of its last events is {usual:,.0f} (minor units)",
            )
        pace, count = got("velocity_ratio"), got("count_24h")
        if pace is not None and count is not None:
            daily = (count + 1.0) / math.exp(pace) - 1.0
            add(
                "events_24h",
                count,
                max(daily, 0.0),
                f"{count:,.0f} events in 24 hours, {max(daily, 0.0):,.1f} a day before",
            )
        hour, category = got("hour_share"), got("category_share")
        if hour is not None:
            add("hour_share", hour, None, f"{hour:.0%} of its events were at this time of the day")
        if category is not None and event.category is not None:
            add("category_share", category, None, f"{category:.0%} of its events were in this category")
        if got("country_changed") == 1.0:
            add("country_changed", 1.0, 0.0, "the country differs from the last one known")
    return tuple(found)
