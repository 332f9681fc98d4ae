"""Geographic impossibility: one account or card in two places at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, unlike_household
from scorers.settings import thresholds

HOUR_S, DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    speed_low_kmh: float = 700.0
    """From here on faster than door to door by air."""
    speed_high_kmh: float = 1200.0
    distance_least_km: float = 300.0
    fresh_s: float = 1 * DAY_S
    """A device or ip is new to the account for this long."""
    private_ip: float = 3.0
    """Accounts on an ip up to which it is somebody's own; the end of a tunnel has many."""
    hops_low: float = 0.5
    """Moves in a row of over 250 km at over 350 km/h, never back to the place before."""
    hops_high: float = 2.0


class GeographicImpossibility(PatternScorer):
    """In two places at once: an account used far away sooner than anybody can travel, from a device and ip it never used; a
    chain of cities; a card paid with in another country by an account opened lately. The impossible-travel rule of identity providers (Microsoft
    Entra ID Protection), held against what a tunnel looks like. Does not fire on a tunnel that is switched on and off
    (known device, back to the place before) or on a traveller."""

    name = "geographic_impossibility"


def build(overrides: Mapping[str, Any]) -> GeographicImpossibility:
    t = thresholds(Thresholds, overrides, "geographic_impossibility")
    return GeographicImpossibility(
        [
            Clue("two_places", 0.8,
                 "{0} km/h needed over {1} km, from a device and an ip this account knows for {2} and {3}",
                 (Condition("user.speed_kmh", t.speed_low_kmh, t.speed_high_kmh),
                  least("user.distance_km", t.distance_least_km), most("device.link_age_s", t.fresh_s),
                  most("ip.link_age_s", t.fresh_s), least("user.device_links_24h", 2),
                  most("ip.neighbours_all", t.private_ip)), "user"),
            Clue("hops", 0.85, "{0} moves in a row to another far place within hours, at an ip of {2} accounts known for {1}",
                 (Condition("user.hops", t.hops_low, t.hops_high), most("ip.link_age_s", HOUR_S),
                  most("ip.neighbours_all", t.private_ip)), "user"),
            Clue("cloned_card", 0.8,
                 "the card was used in another country by {1} accounts; this account is {2} old, {3} of them were new",
                 (least("card.country_changed", 1), Condition("card.neighbours_7d", 1.0, 2.0),
                  most("user.since_signup_s", 3 * DAY_S),
                  Condition("card.young_neighbours", 0.6, 0.95, of="card.neighbours_all"),
                  unlike_household("card.young_neighbours"), most("card.link_age_s", HOUR_S)), "card",
                 ("order", "payment")),
        ],
        t.alert_at,
    )  # fmt: skip
