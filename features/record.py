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
HOUR_BINS = 12
CATEGORY_BINS = 16
TYPES = len(type_names)
SIGNUP = type_names.index("signup")

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

RECENT_FAIL = 1
RECENT_OUTCOME = 2

RECORD = np.dtype(
    [
        ("key", "u8"),
        ("first_us", "i8"),
        ("last_us", "i8"),
        ("place_us", "i8"),
        ("amount_sum", "f8"),
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
        ("type_last_s", "u4", (TYPES,)),
        ("recent_amount", "f4", (RECENT,)),
        ("bucket_amount", "f4", (BUCKET_TOTAL,)),
        ("link_first_s", "u4", (LINKS,)),
        ("link_last_s", "u4", (LINKS,)),
        ("link_amount", "f4", (LINKS,)),
        ("user_bits", "u4", (MAX_KINDS,)),
        ("bucket_count", "u2", (BUCKET_TOTAL,)),
        ("link_count", "u2", (LINKS,)),
        ("fail_run", "u2"),
        ("country", "u2"),
        ("kind", "u1"),
        ("links", "u1"),
        ("recent", "u1"),
        ("recent_code", "u1", (RECENT,)),
        ("link_kind", "u1", (LINKS,)),
        ("link_flags", "u1", (LINKS,)),
        ("hours", "u1", (HOUR_BINS,)),
        ("categories", "u1", (CATEGORY_BINS,)),
        ("filter", "u1", (FILTER_BYTES,)),
    ],
    align=True,
)
"""`user_bits` is, on a user, one 32-bit linear-counting map a linked kind; on any other entity the same 64 bytes are the
64 registers of a HyperLogLog over its users (four registers a word)."""

assert RECORD.itemsize <= 1024, RECORD.itemsize
