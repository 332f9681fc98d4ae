"""The state record: what is kept beside one entity, in one fixed-size row.

Sizes are in bytes; a record is 1,024. All times are microseconds since 1970 UTC (`_us`) or whole seconds (`_s`, unsigned
32 bits, 0 = never); amounts are minor units.
"""

from __future__ import annotations

import numpy as np

from ringwatch.model import DAY_US, HOUR_US, MAX_KINDS, MINUTE_US, type_names

RECENT = 10
"""Last events kept one by one: windows that hold no more of them are exact."""
LINKS = 16
"""Most recent links kept one by one."""
FILTER_BYTES = 32
SKETCH_BYTES = 64
ORDER_BYTES = 16
"""Filter of the orders a user placed or paid: 128 bits, two hashes; an unknown one is taken for known with 7 % after 20."""
HOUR_BINS = 12
CATEGORY_BINS = 16
TYPES = len(type_names)
SIGNUP = type_names.index("signup")
PROMO = type_names.index("promo_redeem")

# Long windows: (length, buckets). A window of length w with n buckets of w / n spans at most n + 1 of them.
WINDOW_US = (DAY_US, 7 * DAY_US, 30 * DAY_US)
BUCKETS = (12, 14, 10)
BUCKET_US = tuple(w // n for w, n in zip(WINDOW_US, BUCKETS, strict=True))
BUCKET_AT = (0, 13, 28)
BUCKET_TOTAL = 39
SHORT_US = (MINUTE_US, 10 * MINUTE_US, HOUR_US)

LINK_YOUNG = 1
"""The other end was under a day old when the link was made."""
LINK_FRAUD = 2
LINK_GOOD = 4
LINK_WEAK = 8
"""The link is of a weak kind: it leaves before the links of strong kinds."""
LINK_DEPARTED = 16
"""Made by a user over 2 days old who had another entity of the kind before."""
LINK_PROMO = 32
"""The user redeemed a promotion within a day of the sign-up."""

RECENT_FAIL = 1
RECENT_OUTCOME = 2

RECORD = np.dtype(
    [
        ("key", "u8"),
        ("first_us", "i8"),
        ("last_us", "i8"),
        ("place_us", "i8"),
        ("recent_us", "i8", (RECENT,)),
        ("link_key", "u8", (LINKS,)),
        ("count", "u4"),
        ("amount_n", "u4"),
        ("amount_mean", "f4"),
        ("amount_m2", "f4"),
        ("outcome_n", "u4"),
        ("fail_n", "u4"),
        ("place_lat", "f4"),
        ("place_lon", "f4"),
        ("fraud_labels", "u4"),
        ("good_labels", "u4"),
        ("fraud_weight", "f4"),
        ("label_weight", "f4"),
        ("label_s", "u4"),
        ("fraud_s", "u4"),
        ("run_s", "u4"),
        ("type_last_s", "u4", (TYPES,)),
        ("recent_amount", "f4", (RECENT,)),
        ("bucket_amount", "f4", (BUCKET_TOTAL,)),
        ("link_first_s", "u4", (LINKS,)),
        ("link_last_s", "u4", (LINKS,)),
        ("user_bits", "u4", (MAX_KINDS,)),
        ("far_lat", "f4"),
        ("far_lon", "f4"),
        ("price", "f4"),
        ("price_before", "f4"),
        ("price_s", "u4"),
        ("paid_n", "u4"),
        ("paired_n", "u4"),
        ("last_sku", "u4"),
        ("origin_device", "u4"),
        ("origin_ip", "u4"),
        ("agent", "u2"),
        ("bucket_count", "u2", (BUCKET_TOTAL,)),
        ("link_count", "u2", (LINKS,)),
        ("country", "u2"),
        ("kind", "u1"),
        ("links", "u1"),
        ("recent", "u1"),
        ("recent_code", "u1", (RECENT,)),
        ("link_kind", "u1", (LINKS,)),
        ("link_flags", "u1", (LINKS,)),
        ("hours", "u1", (HOUR_BINS,)),
        ("categories", "u1", (CATEGORY_BINS,)),
        ("agents", "u1"),
        ("hops", "u1"),
        ("holds", "u1"),
        ("sku_run", "u1"),
        ("basket", "u1"),
        ("promo", "u1"),
        ("known", "u1"),
        ("run_frauds", "u1"),
        ("run_goods", "u1"),
        ("orders", "u1", (ORDER_BYTES,)),
        ("filter", "u1", (FILTER_BYTES,)),
    ],
    align=True,
)
"""`known` holds the last eight labels that became known, the newest in the lowest bit, 1 for fraud; `run_*` the run of frauds
among them (features/links.py). `user_bits` is, on a user,
one 32-bit linear-counting map a linked kind; on any other entity the same 64 bytes are the
64 registers of a HyperLogLog over its users (four registers a word). What sequences need is kept by features/sequence.py:
`far_*` the place before the last one and `hops` of a user, `price*` of a sku, `paid_n` and `paired_n` of a merchant,
`origin_*`, `agent` and `basket` of a session, `agent` and `agents` of a device, `promo` of a user, `holds` and `sku_run` of whatever has them."""

assert RECORD.itemsize <= 1024, RECORD.itemsize
