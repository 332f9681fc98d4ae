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
    return SessionHijack(
        [
            Clue("moved_session", 0.85,
                 "the session goes on from a device this account knows for {1}, with another browser and ip",
                 (least("session.device_changed", 1), most("device.link_age_s", t.fresh_s),
                  least("session.agent_changed", 1), least("session.ip_changed", 1)), "user"),
            Clue("moved_session_same_browser", 0.4,
                 "the session goes on from a device and an ip this account knows for {1} and {2}",
                 (least("session.device_changed", 1), most("device.link_age_s", t.fresh_s),
                  most("ip.link_age_s", t.fresh_s), least("session.ip_changed", 1)), "user"),
            Clue("many_browsers", 0.8,
                 "this device changed its browser {0} times with {1} accounts opened on it, {2} of all",
                 (Condition("device.agents", t.agents_low, t.agents_high),
                  Condition("device.young_neighbours", t.young_least - 1.0, t.young_least),
                  Condition("device.young_neighbours", 0.5, 0.75, of="device.neighbours_all"),
                  unlike_household("device.young_neighbours")), "device"),
        ],
        t.alert_at,
    )  # fmt: skip
