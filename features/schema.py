"""The feature table: every feature's name, definition, unit, window and exactness, in one place.

A feature vector is one block per declared entity kind (the same block for each), then a block that counts a user's
linked entities kind by kind, the event's own fields, what came before it in its sequences, and the ring of its user.
Names are `<kind>.<feature>`, `event.<feature>` and `ring.<feature>`. The kernel fills vectors in exactly this order, the ring
keeper the last block; `FeatureSchema.hash` ties stored vectors and models to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from ringwatch.model import BUILTIN_KINDS, MAX_KINDS, Kind, type_names


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    definition: str
    unit: str
    window: str = ""
    exact: str = "exact"
    """"exact", or how it is approximate."""
    decomposable: bool = False
    """Changes when one link is removed, so that a counterfactual can be computed from the stored links."""


_RING = "exact up to 10 events in the window, above it a lower bound"
_BUCKETS = "bucketed: error at most the weight of the oldest bucket"
_LINKS = "exact up to 16 links, above it a lower bound"
_LINK_AGE = "exact up to 16 links, above it an upper bound"
_LINK_SHARE = "exact up to 16 links, above it of the kept ones"
_HOUR = "exact up to 10 events in the window, above it estimated from the 2 h bucket"
_PRIOR = "the entity's history before this event"


def _slot_block() -> tuple[Feature, ...]:
    rows: list[Feature] = []
    for window in ("1m", "10m"):
        rows.append(Feature(f"count_{window}", "events of the entity, this one included", "events", window, _RING))
    rows.append(Feature("count_1h", "events of the entity, this one included", "events", "1h", _HOUR))
    for window in ("24h", "7d", "30d"):
        rows.append(Feature(f"count_{window}", "events of the entity, this one included", "events", window, _BUCKETS))
    rows.append(Feature("count_all", "events of the entity ever, this one included", "events", "all"))
    rows.append(Feature("amount_1h_minor", "sum of amounts, this one included", "minor units", "1h", _HOUR))
    for window in ("24h", "7d", "30d"):
        rows.append(
            Feature(f"amount_{window}_minor", "sum of amounts, this one included", "minor units", window, _BUCKETS)
        )
    rows += [
        Feature("age_s", "time since the entity was first seen; 0 on its first event", "s"),
        Feature("gap_s", "time since the entity's previous event; missing on its first", "s"),
        Feature("amount_z", f"log amount against the mean and deviation of {_PRIOR}; from 3 amounts", "deviations"),
        Feature("amount_robust_z", "log amount against median and MAD of the last 10 amounts; from 5", "deviations"),
        Feature("amount_iqr_excess", "log amount beyond the quartiles of the last 10, in IQRs; from 5", "IQRs"),
        Feature("amount_median_ratio", "log of amount over the median of the last 10 amounts; from 1", "log ratio"),
        Feature("amount_ratio_30d", "log of amount over the prior mean amount", "log ratio", "30d", _BUCKETS),
        Feature(
            "velocity_ratio", "log of (events in 24 h + 1) over (prior daily mean + 1)", "log ratio", "30d", _BUCKETS
        ),
        Feature("hour_share", f"smoothed share of {_PRIOR} in this 2-hour slot of the day (UTC)", "share"),
        Feature("category_share", f"smoothed share of {_PRIOR} in this category", "share", "", "16 hashed bins"),
        Feature("fails_10m", "declined or failed events, this one included", "events", "10m", _RING),
        Feature("fails_1h", "declined or failed events, this one included", "events", "1h", _RING),
        Feature("fail_run", "declined or failed events in a row up to this one", "events", "", "exact up to 10"),
        Feature("fail_share", "share of declined or failed among events with an outcome, ever", "share"),
        Feature("distance_km", "great-circle distance from the entity's last place", "km"),
        Feature("speed_kmh", "that distance over the time since, at least one minute", "km/h"),
        Feature("country_changed", "1 when the country differs from the last known one", "0/1"),
        Feature(
            "link_new",
            "1 when this event made the link between its user and the entity",
            "0/1",
            "",
            _LINKS + ", then a filter",
            True,
        ),
        Feature("link_age_s", "age of the link between the event's user and the entity", "s", "", _LINK_AGE, True),
        Feature("link_count", "events on the link between the event's user and the entity", "events", "", _LINKS, True),
    ]
    for window in ("1h", "24h", "7d", "30d"):
        rows.append(
            Feature(
                f"neighbours_{window}",
                "distinct linked entities active in the window",
                "entities",
                window,
                _LINKS,
                True,
            )
        )
    rows += [
        Feature(
            "neighbours_all",
            "distinct linked entities ever",
            "entities",
            "all",
            "exact below 16 links, then a sketch",
            True,
        ),
        Feature("new_neighbours_24h", "links first seen in the window", "links", "24h", _LINKS, True),
        Feature("new_neighbours_7d", "links first seen in the window", "links", "7d", _LINKS, True),
        Feature(
            "young_neighbours",
            "kept links made while the other end was under a day old (since its sign-up; in a stream of 14 days without any "
            "sign-up: since its first event)",
            "links",
            "",
            _LINKS,
            True,
        ),
        Feature(
            "top_share",
            "share of the busiest kept link in the events of all kept links",
            "share",
            "",
            _LINK_SHARE,
            True,
        ),
        Feature("fraud_labels", "events of the entity confirmed as fraud so far", "events"),
        Feature("good_labels", "events of the entity confirmed as good so far", "events"),
        Feature(
            "fraud_rate", "confirmed fraud over confirmed, 30-day half-life, smoothed to 1 % with weight 2", "share"
        ),
        Feature("fraud_label_age_s", "time since the last confirmed fraud became known", "s"),
        Feature("fraud_neighbours", "kept links to an entity confirmed as fraud", "entities", "", _LINKS, True),
        Feature(
            "good_neighbours",
            "kept links to an entity confirmed as good and never as fraud",
            "entities",
            "",
            _LINKS,
            True,
        ),
        Feature(
            "link_departed",
            "1 when the link between the event's user and the entity was a departure: the user was over 2 days old and had "
            "another entity of this kind before",
            "0/1",
            "",
            _LINKS,
            True,
        ),
        Feature("departed_neighbours", "kept links that were a departure of their user", "links", "", _LINKS, True),
        Feature(
            "promo_neighbours",
            "kept links to users who redeemed a promotion within a day of their sign-up",
            "links",
            "",
            _LINKS,
            True,
        ),
        Feature(
            "last_3_frauds",
            "frauds among the last 3 labels of its events that became known; missing without any",
            "events",
        ),
        Feature(
            "last_8_frauds",
            "frauds among the last 8 labels of its events that became known; missing without any",
            "events",
        ),
        Feature(
            "fraud_run",
            "confirmed frauds in the current or last run, which 3 confirmed good in a row end; missing without any label",
            "events",
            "",
            "exact up to 255",
        ),
        Feature(
            "good_run",
            "confirmed good in a row since the last confirmed fraud; missing without any label",
            "events",
            "",
            "exact up to 255",
        ),
        Feature("fraud_run_age_s", "time since the first fraud of that run became known", "s"),
        Feature(
            "amount_peak",
            f"log of the highest amount of the last 10 events over the geometric mean of {_PRIOR}; from 3 amounts",
            "log ratio",
        ),
    ]
    return tuple(rows)


SLOT_BLOCK = _slot_block()

EVENT_BLOCK: tuple[Feature, ...] = (
    Feature("type", "code of the event type, in the order of the type list", "code"),
    Feature("amount_minor", "amount in the tenant's currency", "minor units"),
    Feature("amount_log", "natural log of (amount + 1)", "log minor units"),
    Feature("hour", "hour of the day (UTC), with fraction", "h"),
    Feature("weekday", "day of the week, Monday is 0", "day"),
    Feature("failed", "1 when declined or failed, 0 when approved or successful", "0/1"),
    Feature("quantity", "quantity", "units"),
    Feature("unit_price_minor", "unit price", "minor units"),
    Feature("stock_after", "stock after the event", "units"),
    Feature("entities", "entities the event names", "entities"),
    Feature("new_links", "links to strong kinds that this event made", "links", "", _LINKS, True),
    Feature("max_neighbours_24h", "highest neighbours_24h over its strong entities", "entities", "24h", _LINKS, True),
    Feature("fraud_neighbours", "sum of fraud_neighbours over its strong entities", "entities", "", _LINKS, True),
    Feature("late_s", "how far the event lies behind its user's last event", "s"),
)

_RUN = "exact up to 10 events"

SEQUENCE_BLOCK: tuple[Feature, ...] = (
    *(
        Feature(f"{kind}.pay_run_{window}", "approved payments since the last order", "payments", window, _RUN)
        for kind in ("user", "device", "card")
        for window in ("10m", "1h")
    ),
    Feature("user.failed_logins_1h", "failed logins", "events", "1h", _RUN),
    Feature("user.profile_changes_24h", "changes of the profile, this one included", "events", "24h", _RUN),
    Feature(
        "user.hops",
        "moves in a row of over 250 km at over 350 km/h, none back to the place before; a way back begins anew",
        "moves",
    ),
    *(
        Feature(f"{kind}.hold_run", "cart holds in a row without an order or a payment, at most 6 h apart", "events")
        for kind in ("user", "device", "sku")
    ),
    *(
        Feature(f"{kind}.sku_run", "orders in a row of one article, at most 7 d apart, this one included", "orders")
        for kind in ("user", "device", "card", "address")
    ),
    Feature("device.agents", "changes of the browser seen on the device, at most 255", "changes"),
    Feature("session.device_changed", "1 when the device is not the one the session began on", "0/1"),
    Feature("session.ip_changed", "1 when the ip is not the one the session began on", "0/1"),
    Feature("session.agent_changed", "1 when the browser is not the one the session began on", "0/1"),
    Feature("session.basket", "1 when the session had a cart, checkout or order before this event", "0/1"),
    Feature("sku.price_ratio", "price set last over the price before it", "ratio"),
    Feature("sku.price_age_s", "time since the price was set", "s"),
    Feature("merchant.paired_share", "share of its payments that came within 1 h of an order of their user", "share"),
    Feature("merchant.paired_of", "payments that share is of", "payments"),
    Feature(
        "event.refund_unknown", "1 when a refund names an order never seen of a user seen since the sign-up", "0/1"
    ),
    Feature("event.paid_share", "amount over unit price times quantity", "ratio"),
)
"""Named for built-in kinds; missing where a data set does not declare them."""

RING_BLOCK: tuple[Feature, ...] = (
    Feature("users", "users in the ring of the event's user; missing outside of rings (under 2 users)", "users"),
    Feature("new_users_7d", "of them, joined in the window", "users", "7d"),
    Feature("young_share", "share that was under a day old when it joined", "share"),
    Feature("departed_share", "share that joined by leaving its usual device, card or address", "share"),
    Feature("things", "shared entities that hold the ring together", "entities"),
    Feature("kinds", "kinds of shared entities", "kinds"),
    Feature("density", "links to shared entities over the links possible", "share"),
    Feature("synchrony", "largest share of users that joined within one day of each other", "share"),
    Feature("fraud_share", "share of users confirmed as fraud", "share"),
    Feature("innocence", "evidence of innocent sharing (a household, an office, a campus)", "0..1"),
    Feature("risk", "ring risk as of the last mark", "0..1"),
    Feature("age_s", "time since the ring data was last settled", "s"),
)
"""Filled by the ring keeper (rings/keeper.py), not by the kernel."""


_OTHERS = (
    "young_neighbours",
    "fraud_neighbours",
    "good_neighbours",
    "promo_neighbours",
    "max_neighbours_24h",
    "new_links",
)
_LABELLED = ("fraud_labels", "good_labels", "fraud_rate", "fraud_label_age_s", "last_3_frauds", "last_8_frauds",
             "fraud_run", "good_run", "fraud_run_age_s")  # fmt: skip
"""Labels travel on a topic of their own."""
OF_LABELS = (*_LABELLED, "fraud_neighbours", "good_neighbours", "fraud_share", "risk")
"""Of any block: what depends on labels."""


class FeatureSchema:
    """The layout of a feature vector for a list of declared kinds. Immutable.

    `names`: all feature names in order; `size`: their number; `index`: name -> column.
    """

    def __init__(self, kinds: tuple[Kind, ...] = BUILTIN_KINDS) -> None:
        if len(kinds) > MAX_KINDS:
            raise ValueError(f"{len(kinds)} kinds declared, at most {MAX_KINDS} are possible")
        if not kinds or kinds[0].name != "user":
            raise ValueError("the first kind must be user")
        self.kinds = kinds
        self.kind_index = {kind.name: i for i, kind in enumerate(kinds)}
        self.slot_size = len(SLOT_BLOCK)
        self.user_offset = self.slot_size * len(kinds)
        self.since_offset = self.user_offset + 2 * len(kinds)
        self.event_offset = self.since_offset + len(type_names)
        self.sequence_offset = self.event_offset + len(EVENT_BLOCK)
        self.ring_offset = self.sequence_offset + len(SEQUENCE_BLOCK)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        def under(prefix: str, f: Feature) -> Feature:
            return Feature(f"{prefix}.{f.name}", f.definition, f.unit, f.window, f.exact, f.decomposable)

        rows = [under(kind.name, f) for kind in self.kinds for f in SLOT_BLOCK]
        for kind in self.kinds:
            rows.append(
                Feature(
                    f"user.{kind.name}_links_24h",
                    f"the user's {kind.name} links active in the window",
                    "entities",
                    "24h",
                    _LINKS,
                    True,
                )
            )
            rows.append(
                Feature(
                    f"user.{kind.name}_links_all",
                    f"the user's distinct {kind.name} links ever",
                    "entities",
                    "all",
                    "exact below 16 links, then a sketch",
                    True,
                )
            )
        for name in type_names:
            rows.append(Feature(f"user.since_{name}_s", f"time since the user's last {name} before this event", "s"))
        rows += [under("event", f) for f in EVENT_BLOCK]
        rows += SEQUENCE_BLOCK
        rows += [under("ring", f) for f in RING_BLOCK]
        return tuple(rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    @cached_property
    def index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def order_dependent(self) -> frozenset[str]:
        """Features that may differ with the order in which several scorers commit. Events of a user stay in order (they share a
        partition), so those from the event and its user's own record are not among them."""
        own = {
            n for n in self.names if n.startswith(("user.", "event.")) and n.split(".")[1] not in (*_OTHERS, *_LABELLED)
        }
        return frozenset(self.names) - own

    @property
    def size(self) -> int:
        return self.ring_offset + len(RING_BLOCK)

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of a SHA-256 over kinds, names, definitions and units."""
        digest = hashlib.sha256()
        for kind in self.kinds:
            digest.update(f"{kind.name}|{int(kind.strength)}|{kind.crowded}\n".encode())
        for f in self.features:
            digest.update(f"{f.name}|{f.definition}|{f.unit}|{f.window}|{f.exact}|{f.decomposable}\n".encode())
        return digest.hexdigest()[:16]

    def column(self, name: str) -> int:
        return self.index[name]
