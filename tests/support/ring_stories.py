"""Rings made by hand: a takeover, a family, a chain, one of 60 accounts, one whose names are an attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rings.ring import Ring, RingLink, RingMember, RingSummary, RiskPart, SharedThing
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Alert, Reason

START_US = 1_772_446_320_000_000
"""2026-03-02 10:12 UTC"""


def ring_of(
    ring_id: str,
    links: Iterable[RingLink],
    parts: Iterable[RiskPart],
    *,
    patterns: tuple[str, ...] = (),
    verdicts: dict[str, str] | None = None,
    member: Callable[[RingMember, int], RingMember] = lambda m, n: m,
) -> Ring:
    links = tuple(links)
    users: dict[str, list[RingLink]] = {}
    things: dict[tuple[str, str], list[RingLink]] = {}
    for link in links:
        users.setdefault(link.user, []).append(link)
        things.setdefault((link.kind, link.entity), []).append(link)
    members = sorted(
        (RingMember(u, min(k.first_us for k in own), max(k.last_us for k in own)) for u, own in users.items()),
        key=lambda m: (m.joined_us, m.user),
    )
    shared = [
        SharedThing(
            kind,
            entity,
            len(own),
            min(k.first_us for k in own),
            max(k.last_us for k in own),
            (verdicts or {}).get(entity, ""),
        )
        for (kind, entity), own in things.items()
    ]
    parts = tuple(parts)
    last_us = max(k.last_us for k in links)
    summary = RingSummary(
        ring_id, "default", round(sum(p.value for p in parts), 4), len(members), len(shared), members[0].joined_us, last_us,
        patterns, sum(k.amount_minor for k in links),
    )  # fmt: skip
    return Ring(
        summary,
        f"ev-{ring_id}",
        parts,
        tuple(member(m, n) for n, m in enumerate(members)),
        tuple(sorted(shared, key=lambda t: (-t.users, t.kind, t.entity))),
        links,
        last_us + 5 * MINUTE_US,
    )


def takeover() -> Ring:
    users = [f"u-{n}" for n in (48213, 1207, 99310, 55102, 7741, 30155, 62018)]
    links = []
    for n, user in enumerate(users):
        at = START_US + n * 31 * MINUTE_US
        links.append(RingLink(user, "device", "d-7f3a9c21e0b8445592aa17cc", at, at + 9 * MINUTE_US, 4 + n % 3, 0))
        if n != 3:
            parcel = "a-locker-4417" if n < 4 else "a-locker-0932"
            order_us = at + 3 * HOUR_US + n * 7 * MINUTE_US
            links.append(RingLink(user, "address", parcel, order_us, order_us, 1, 41_900 + n * 3_170))
    parts = (
        RiskPart("departed", "7 of 7 accounts left the device, card or address they usually use to join", 0.38),
        RiskPart("synchrony", "7 of 7 accounts joined within one day of each other", 0.24),
        RiskPart("flagged", "3 of 7 accounts are confirmed as fraud", 0.21),
        RiskPart("density", "13 of 21 possible links to shared entities exist, far over chance", 0.12),
        RiskPart("exposure", "2,989.50 EUR went over the shared entities", 0.05),
        RiskPart("innocence.kinds", "the accounts' own history is long and unlike each other", -0.07),
    )

    def victim(m: RingMember, n: int) -> RingMember:
        return RingMember(
            m.user, m.joined_us, m.last_us, departed=True, fraud=n in (0, 2, 4), young=n == 6,
            patterns=("account_takeover",) if n != 3 else (),
        )  # fmt: skip

    return ring_of("rg5e1c07ba94", links, parts, patterns=("account_takeover",), member=victim)


def family() -> Ring:
    users = ["marta.lind", "jonas.lind", "ida.lind", "oskar.lind"]
    things = [("device", "ipad-kitchen"), ("card", "c-8812"), ("phone", "p-0461"), ("address", "a-linden-12")]
    links = [
        RingLink(
            u,
            kind,
            entity,
            START_US - (300 - 70 * n) * DAY_US,
            START_US - n * 5 * DAY_US,
            60 - 13 * n - i,
            4_100 * (i == 1),
        )
        for n, u in enumerate(users)
        for i, (kind, entity) in enumerate(things)
        if (n + i) % 4 != 3
    ]
    parts = (
        RiskPart("density", "12 of 16 possible links to shared entities exist", 0.22),
        RiskPart("kinds", "4 kinds of entities are shared", 0.06),
        RiskPart(
            "innocence.household", "looks like a household: one address, few accounts, months of quiet use", -0.19
        ),
    )
    verdicts = {"a-linden-12": "household", "ipad-kitchen": "household"}
    return ring_of("rg02fa61d3c8", links, parts, verdicts=verdicts)


def chain() -> Ring:
    kinds = ("phone", "address", "bank_account", "email", "phone", "device", "card")
    links = []
    for n in range(8):
        at = START_US + n * 2 * DAY_US
        if n < 7:
            links.append(RingLink(f"syn{n:02}", kinds[n], f"{kinds[n]}-{n}", at, at + 9 * DAY_US, 3 + n, 12_500 * n))
        if n:
            links.append(
                RingLink(f"syn{n:02}", kinds[n - 1], f"{kinds[n - 1]}-{n - 1}", at + HOUR_US, at + DAY_US, 2, 0)
            )
    parts = (
        RiskPart("young", "8 of 8 accounts were under a day old when they joined", 0.4),
        RiskPart("kinds", "6 kinds of entities", 0.15),
    )
    return ring_of(
        "rgc4a1100e7d", links, parts, patterns=("synthetic_identity",),
        member=lambda m, n: RingMember(m.user, m.joined_us, m.last_us, young=True),
    )  # fmt: skip


def large(users: int = 60, cells: int = 6) -> Ring:
    """Cells of accounts, each on its own devices and cards, held together by two addresses."""
    links = []
    for n in range(users):
        cell, at = n % cells, START_US + n * 3 * HOUR_US
        own = [("device", f"d-cell-{cell}"), ("card", f"c-pool-{cell}-{n % 3}"), ("address", f"a-drop-{cell % 2}")]
        for i, (kind, entity) in enumerate(own):
            if (n + i) % 5:
                when = at + i * 20 * MINUTE_US
                links.append(
                    RingLink(
                        f"user-{7919 * (n + 3) % 100_000:05}",
                        kind,
                        entity,
                        when,
                        when + n % 7 * HOUR_US,
                        1 + n % 9,
                        900 * n,
                    )
                )
    parts = (
        RiskPart("young", "48 of 60 accounts were under a day old when they joined", 0.42),
        RiskPart("promo", "41 of 60 redeemed a promotion within a day of their sign-up", 0.2),
        RiskPart("synchrony", "9 of 60 accounts joined within one day of each other", 0.08),
        RiskPart("innocence.office", "one address is also used by 140 unrelated accounts", -0.09),
    )

    def opened(m: RingMember, n: int) -> RingMember:
        return RingMember(
            m.user,
            m.joined_us,
            m.last_us,
            young=n % 5 != 0,
            fraud=n % 11 == 4,
            patterns=("promotion_abuse",) * (n % 3 == 0),
        )

    return ring_of(
        "rg9b77e2f015", links, parts, patterns=("promotion_abuse", "coordinated_accounts"),
        verdicts={"a-drop-0": "office"}, member=opened,
    )  # fmt: skip


HOSTILE = "<script>alert('x')</script>\"&\u202e\x1b[31mevil"


def hostile() -> Ring:
    """Names that would break out of markup, a terminal or XML, and two that are alike at both ends."""
    alike = [f"token-{middle}-{'0' * 40}" for middle in ("aaaa", "bbbb")]
    links = [
        RingLink(user, kind, HOSTILE, START_US, START_US + HOUR_US, 2, 100)
        for user in (HOSTILE, *alike)
        for kind in ("device", "<img src=x onerror=alert(1)>")
    ]
    parts = (RiskPart("x", "</style><script>alert(2)</script> & 'quotes'", 0.3),)
    return ring_of("rg</title>'\"", links, parts, patterns=("<b>",), verdicts={HOSTILE: "hub"})


def alerts_of(ring: Ring) -> tuple[list[Alert], dict[str, list[Reason]]]:
    """Two alerts of accounts and one of the ring, and the reasons of each by alert id."""
    found, reasons = [], {}
    for n, m in enumerate(ring.members[:2]):
        score = 0.93 - 0.2 * n
        alert = Alert(
            f"al{n}", "default", "user", m.user, "takeover.new_device_then_order", m.joined_us + HOUR_US, m.joined_us + 2 * HOUR_US,
            3 - n, score, "CRITICAL" if n == 0 else "HIGH", "now", f"{m.user}: a new device, a new password, then a large order",
            45_000, patterns=("account_takeover",), accounts=(m.user,),
        )  # fmt: skip
        found.append(alert)
        reasons[alert.alert_id] = [
            Reason(
                "neighbourhood.shared_device",
                "its device was used by 6 other accounts in 4 h",
                score * 0.6,
                "device",
                "d-7f3a",
            ),
            Reason("amount.unusual", "12 times what the account usually spends", score * 0.4),
        ]
    s = ring.summary
    found.append(
        Alert(
            "al9", "default", "ring", s.ring_id, "ring.grew", s.born_us + 90 * MINUTE_US, s.last_us, 11, 0.88, "CRITICAL", "now",
            f"ring of {s.users} accounts on shared entities", s.amount_minor, accounts=tuple(m.user for m in ring.members),
            ring=s.ring_id,
        )
    )  # fmt: skip
    reasons["al9"] = [Reason("ring.departed", "every account left the device it usually uses", 0.88, "ring", s.ring_id)]
    return found, reasons
