"""Device fingerprint and session hijack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, unlike_household
from scorers.settings import thresholds


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    fresh_s: float = 3600.0
    """A device or ip is new to the account for this long."""
    private_ip: float = 3.0
    """Accounts on an ip up to which it is somebody's own; a carrier's has many."""
    settled_s: float = 7 * 86_400.0
    """An account this old, with this many events, has shown its devices."""
    settled_events: float = 15.0
    agents_low: float = 0.0
    """Changes of the browser seen on one device."""
    agents_high: float = 1.0
    young_least: float = 2.0


class SessionHijack(PatternScorer):
    """A session that goes on from another device, browser and ip, which its account never used (the stolen cookie: session
    sidejacking, OWASP ASVS 3, MITRE T1539); or one device that claims another browser with every new account (an emulator
    or anti-detect browser: Vastel et al., FP-Scanner, USENIX Security 2018). Does not fire on a second device of the
    account, a resumed session on the same browser, or a shop's tablet used by old accounts."""

    name = "session_hijack"


def build(overrides: Mapping[str, Any]) -> SessionHijack:
    t = thresholds(Thresholds, overrides, "session_hijack")
    moved = (
        least("session.device_changed", 1), most("device.link_age_s", t.fresh_s), least("session.agent_changed", 1),
        most("ip.link_age_s", t.fresh_s), most("ip.neighbours_all", t.private_ip),
    )  # fmt: skip
    return SessionHijack(
        [
            Clue("moved_session", 0.85,
                 "the session of an account {5} old goes on from a device it knows for {1}, with another browser and a new ip",
                 (*moved, least("user.age_s", t.settled_s), least("user.count_all", t.settled_events)), "user",
                 group="moved"),
            Clue("moved_and_spent", 0.85,
                 "the session goes on from a device this account knows for {1}, with another browser and a new ip, and spends {5}",
                 (*moved, least("event.amount_minor", 1),
                  Condition("user.amount_median_ratio", 0.3, 0.9, missing=0.5)), "user", ("order", "payment"),
                 group="moved"),
            Clue("moved_to_one_device", 0.85,
                 "sessions of {3} accounts went on at this device, this one's from another browser {1} ago",
                 (least("session.device_changed", 1), most("device.link_age_s", t.fresh_s),
                  least("session.agent_changed", 1), least("device.neighbours_7d", 2), least("session.ip_changed", 1),
                  most("device.young_neighbours", 0)), "device", group="moved"),
            Clue("many_browsers", 0.8,
                 "this device changed its browser {0} times with {1} accounts opened on it, {2} of all",
                 (Condition("device.agents", t.agents_low, t.agents_high),
                  Condition("device.young_neighbours", t.young_least - 1.0, t.young_least),
                  Condition("device.young_neighbours", 0.5, 0.75, of="device.neighbours_all"),
                  unlike_household("device.young_neighbours")), "device"),
        ],
        t.alert_at,
    )  # fmt: skip
