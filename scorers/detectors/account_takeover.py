"""Account takeover: the account is honest, the hand on it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorers.clues import Clue, Condition, PatternScorer, least, most, unlike_household
from scorers.settings import thresholds

DAY_S = 86_400.0
_SPEND = ("order", "payment")


@dataclass(frozen=True, slots=True)
class Thresholds:
    alert_at: float = 0.6
    fresh_s: float = 1 * DAY_S
    """A device or ip this long known to the account is still new to it."""
    settling_s: float = 7 * DAY_S
    victims_low: float = 1.0
    """Old accounts that came anew to one device or address: up to here it says nothing."""
    victims_high: float = 2.0
    changes_least: float = 2.0
    """Changes of the profile within a day."""


class AccountTakeover(PatternScorer):
    """Somebody else at the wheel of an old account: a device and ip it never used, then a change of password, e-mail or
    address, then spending; failed logins before; or several old accounts that come anew to one device and one delivery
    address. The sequence of Bursztein et al. (IMC 2014) and Thomas et al. (CCS 2017). Does not fire on a new phone from a known
    ip with one change, on a shop's tablet (own addresses), or on an account under two days old."""

    name = "account_takeover"


def build(overrides: Mapping[str, Any]) -> AccountTakeover:
    t = thresholds(Thresholds, overrides, "account_takeover")
    departed, fresh = least("device.link_departed", 1), most("device.link_age_s", t.fresh_s)
    new_ip = most("ip.link_age_s", t.fresh_s)
    return AccountTakeover(
        [
            Clue("changed_from_elsewhere", 0.75,
                 "{1} changes of the profile in a day from a device and an ip this account never used",
                 (departed, least("user.profile_changes_24h", t.changes_least), fresh, new_ip), "user",
                 ("profile_change",), group="changed"),
            Clue("changed_and_redirected", 0.75,
                 "{1} changes of the profile in a day and a purchase to a new address, from a device and an ip this account "
                 "never used",
                 (departed, least("user.profile_changes_24h", t.changes_least), fresh, new_ip,
                  most("address.link_age_s", t.fresh_s)), "user", _SPEND, group="changed"),
            Clue("guessed_and_changed", 0.7,
                 "{1} failed logins, {2} change of the profile and a purchase to a new address, from a new device",
                 (departed, least("user.failed_logins_1h", 1), least("user.profile_changes_24h", 1), fresh,
                  least("address.link_new", 1)), "user", _SPEND),
            Clue("serial_device", 0.8,
                 "{0} old accounts came anew to this device; on this one {2} failed logins, a change of the profile and a "
                 "purchase to an address known for {4}",
                 (Condition("device.departed_neighbours", t.victims_low, t.victims_high), departed,
                  least("user.failed_logins_1h", 1), least("user.profile_changes_24h", 1),
                  most("address.link_age_s", t.fresh_s)), "device", _SPEND, group="serial"),
            Clue("serial_logins", 0.75,
                 "{0} accounts, none of them new, came to this device in 7 days; on this one {2} failed logins, a change and "
                 "a purchase to an address known for {5}",
                 (Condition("device.new_neighbours_7d", t.victims_low, t.victims_high + 1.0),
                  most("device.young_neighbours", 0), least("user.failed_logins_1h", 1),
                  least("user.profile_changes_24h", 1), fresh, most("address.link_age_s", t.fresh_s)), "device", _SPEND,
                 group="serial"),
            Clue("serial_device_and_delivery", 0.85,
                 "{0} old accounts came anew to this device and {1} to this delivery address",
                 (Condition("device.departed_neighbours", t.victims_low, t.victims_high),
                  Condition("address.departed_neighbours", t.victims_low, t.victims_high), departed,
                  least("address.departed_neighbours", 0.6, of="address.neighbours_all"),
                  least("address.link_departed", 1), most("address.link_age_s", t.settling_s), unlike_household("device.departed_neighbours")),
                 "address", _SPEND),
            Clue("serial_delivery", 0.85,
                 "{0} old accounts have this new delivery address, and this one a new device for {2}",
                 (Condition("address.departed_neighbours", t.victims_low, t.victims_high + 1.0),
                  least("address.departed_neighbours", 0.6, of="address.neighbours_all"),
                  most("device.link_age_s", t.settling_s), departed, least("address.link_departed", 1)), "address",
                 ("profile_change", *_SPEND)),
        ],
        t.alert_at,
    )  # fmt: skip
