"""Ring risk: what speaks for one hand behind many accounts, less what speaks for people who live or shop together.

Each part is a share of the members (or how full a measure is) times a weight. With n members:

| part | measure | weight |
|---|---|---|
| chance | -log10 of the share of things of the kind with at least so many users, full from 3 (one in a thousand) | 0.10 |
| synchrony | most young or departed members that joined within a day of each other, less one, of n - 1 | 0.20 |
| young | members that joined within a day of opening their account, of n | 0.30 |
| recent | members that joined within 14 days of opening it, of n | 0.10 |
| opened_together | most that opened their account within 7 days of each other, beyond half | 0.40 |
| departures | members over 2 days old that left their usual thing of the kind for a shared one, of n | 0.40 |
| confirmed | 2 * members with a confirmed fraud on a shared thing / (n + 1), at most 1 | 0.50 |
| confirmed_elsewhere | the same for members whose confirmed fraud was on other things | 0.15 |
| alerted | the same for members whose own events were alerted with a fraud pattern, not confirmed | 0.35 |
| reused | 2 * members on a shared thing that a busted ring had before / (n + 1), at most 1 | 0.35 |
| exposure | amount on shared links a member, full from 500.00 | 0.05 |
| household | up to 5 members: those that share three kinds or more, of n, less where opened together | -0.50 |
| shop_device | hardly anything but one device, 3 or more that came to it within a day: members not young, of n | -0.50 |
| shared_address | hardly anything but one address, joined apart: members not recent, of n; a flat, a campus from 10 | -0.20 |
| confirmed_good | 2 * members confirmed as good and never as fraud / (n + 1), at most 1 | -0.20 |

What people judged innocent (`judged.py`) is one more part, what the risk is less by than with it. A place that was (an ip) explains
chance, synchrony, young, recent and opened_together, for the share of the members that were there.

Beyond half: (2 * most - n - 1) / (n - 1), at least 0. Hardly anything but one: three quarters of the members are on it, a third at most
on any other thing. What speaks for structure counts half for a ring of two, which chance makes easily. What speaks
for innocence fades as members are confirmed on the shared things or alerted, the first aside: times 1 - 2 * (confirmed + alerted - 1) / n, at
least 0. The risk is the sum; where it is over 1 the positive parts are scaled down to it, where it is under 0 the negative ones, so
the parts always add up to it.

Sources. Accounts that act on shared resources in loose synchrony, by Cao, Yang, Yu and Palow (SynchroTrap, CCS 2014) and Beutel et
al. (CopyCatch, WWW 2013); suspiciousness of a dense block against chance, by Jiang et al. (ICDM 2015). The weights are set
by hand so that no structural measure alone reaches 0.5 but opening or leaving together does with any other; they were looked at on
simulated markets and not fitted to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rings.facts import Facts
from rings.ring import RiskPart
from ringwatch.model import DAY_US

if TYPE_CHECKING:
    from rings.judged import Judged

UNIT = 10_000
"""Parts are whole ten-thousandths, so that they add up exactly."""
CHANCE, SYNCHRONY, YOUNG, RECENT, OPENED, DEPARTURES = 0.10, 0.20, 0.30, 0.10, 0.40, 0.40
CONFIRMED, ELSEWHERE, ALERTED, REUSED, EXPOSURE = 0.50, 0.15, 0.35, 0.35, 0.05
HOUSEHOLD, SHOP, ADDRESS, GOOD = 0.50, 0.50, 0.20, 0.20
FULL_EXPOSURE_MINOR = 50_000
HOUSEHOLD_USERS, SHOP_USERS, CAMPUS_USERS = 5, 3, 10


def _doubled(n: int, of: int) -> float:
    """A share that is full at half and never for a single one of few."""
    return min(1.0, 2 * n / (of + 1))


def _beyond(most: int, of: int) -> float:
    """How far a majority goes: 0 when no more than half and one besides, 1 when all."""
    return min(1.0, max(0.0, (2 * most - of - 1) / max(1, of - 1)))


def _against(f: Facts, placed: float) -> dict[str, float]:
    n = f.users
    size = 0.5 if n == 2 else 1.0
    together = size * (1.0 - placed)
    return {
        "chance": CHANCE * min(1.0, f.rarity / 3000) * together,
        "synchrony": SYNCHRONY * max(0, f.told - 1) / (n - 1) * together,
        "young": YOUNG * f.young / n * together,
        "recent": RECENT * f.recent / n * together,
        "opened_together": OPENED * _beyond(f.opened, n) * together,
        "departures": DEPARTURES * f.departed / n * size,
        "confirmed": CONFIRMED * _doubled(f.fraud_here, n),
        "confirmed_elsewhere": ELSEWHERE * _doubled(f.fraud_elsewhere, n),
        "alerted": ALERTED * _doubled(f.flagged, n),
        "reused": REUSED * _doubled(f.reused, n),
        "exposure": EXPOSURE * min(1.0, max(0, f.amount_minor) / n / FULL_EXPOSURE_MINOR),
    }


def _innocent(f: Facts, kinds: Sequence[str]) -> dict[str, float]:
    n = f.users
    kind = kinds[f.widest_kind] if f.widest_kind >= 0 else ""
    fades = 1 - min(1.0, 2 * max(0, f.fraud_here + f.flagged - 1) / n)
    household = f.multi / n * (1 - _beyond(f.opened, n)) if n <= HOUSEHOLD_USERS else 0.0
    alone = 4 * f.widest >= 3 * n and 3 * f.second <= n
    shop = kind == "device" and alone and n >= SHOP_USERS and 20 * f.widest_day >= 17 * f.widest and 3 * f.young <= n
    home = kind == "address" and alone
    apart = max(0.0, 1 - max(_beyond(f.told, n), f.departed / n))
    return {
        "household": -HOUSEHOLD * household * fades,
        "shop_device": -SHOP * max(0, n - f.young) / n * fades if shop else 0.0,
        "shared_address": -ADDRESS * max(0, n - f.recent) / n * apart * fades if home else 0.0,
        "confirmed_good": -GOOD * _doubled(f.good, n),
    }


def _values(f: Facts, kinds: Sequence[str], placed: float = 0.0) -> dict[str, int]:
    """Code -> ten-thousandths, for the parts that are not nothing. They add up to 0..10,000."""
    if f.users < 2:
        return {}
    raw = {code: round(value * UNIT) for code, value in (_against(f, placed) | _innocent(f, kinds)).items()}
    found = {code: value for code, value in raw.items() if value}
    plus, minus = sum(v for v in found.values() if v > 0), -sum(v for v in found.values() if v < 0)
    if plus - minus > UNIT:
        return _scaled(found, 1, plus, minus + UNIT)
    if plus < minus:
        return _scaled(found, -1, minus, plus)
    return found


def _scaled(values: dict[str, int], sign: int, total: int, wanted: int) -> dict[str, int]:
    """Parts of one sign scaled so that they add up to `wanted`; what rounding leaves goes to the largest."""
    found = {c: v * wanted // total if v > 0 else -(-v * wanted // total) for c, v in values.items() if v * sign > 0}
    largest = max(found, key=lambda c: abs(values[c]))
    found[largest] += sign * wanted - sum(found.values())
    return {c: v for c, v in ({c: found.get(c, v) for c, v in values.items()}).items() if v}


def risk(f: Facts, kinds: Sequence[str], placed: float = 0.0) -> float:
    """0..1. `placed`: share of the members whom a place that was judged innocent brought together."""
    return sum(_values(f, kinds, placed).values()) / UNIT


def innocence(f: Facts, kinds: Sequence[str]) -> float:
    """0..1: the negative parts before scaling, full at the weight of a household."""
    return min(1.0, -sum(_innocent(f, kinds).values()) / HOUSEHOLD) if f.users > 1 else 0.0


def parts(f: Facts, kinds: Sequence[str], eased: float = 0.0, judged: Sequence[Judged] = ()) -> tuple[RiskPart, ...]:
    """Largest first. Their values add up to the risk, less what verdicts on sharing ease it by."""
    texts = _texts(f, kinds)
    values = _values(f, kinds)
    if judged:
        said = "; ".join(f"{j.kind} {j.entity}: {j.why} ({j.who})" for j in judged)
        texts["judged_innocent"], values["judged_innocent"] = (
            f"judged innocent by a person: {said}",
            -round(eased * UNIT),
        )
    order = sorted(values, key=lambda code: (-abs(values[code]), code))
    return tuple(RiskPart(code, texts[code], values[code] / UNIT) for code in order)


def verdict(f: Facts, kinds: Sequence[str], kind: int) -> str:
    """What innocent thing a shared thing of a kind seems to be, or nothing."""
    found = _innocent(f, kinds) if f.users > 1 else {}
    if found.get("household"):
        return "household"
    if found.get("shop_device") and kinds[kind] == "device":
        return "shop_device"
    if found.get("shared_address") and kinds[kind] == "address":
        return "campus" if f.users >= CAMPUS_USERS else "flat"
    return ""


def _texts(f: Facts, kinds: Sequence[str]) -> dict[str, str]:
    n, established = f.users, f.users - f.recent
    kind = kinds[f.widest_kind].replace("_", " ") if f.widest_kind >= 0 else "thing"
    one_in = max(1, round(10 ** (f.rarity / 1000)))
    days = max(0, f.last_joined_us - f.first_us) / DAY_US
    lives = "a campus" if n >= CAMPUS_USERS else "a shared flat"
    return {
        "chance": f"one {kind} in {one_in:,} has as many users as theirs, {f.widest} members on it",
        "synchrony": f"{f.told} of {n} members took it up within one day, newly opened or leaving what they had",
        "young": f"{f.young} of {n} members joined within a day of opening their account",
        "recent": f"{f.recent} of {n} members joined within 14 days of opening their account",
        "opened_together": f"{f.opened} of {n} accounts were opened within 7 days of each other",
        "departures": f"{f.departed} of {n} members left their usual thing of the kind for a shared one",
        "confirmed": f"{f.fraud_here} of {n} members have confirmed fraud on a shared thing",
        "confirmed_elsewhere": f"{f.fraud_elsewhere} of {n} members have confirmed fraud on other things",
        "alerted": f"{f.flagged} of {n} members were alerted with a fraud pattern and are not confirmed",
        "reused": f"{f.reused} of {n} members share a thing that a ring had which was confirmed as fraud",
        "exposure": f"{f.amount_minor / 100:,.2f} paid or refunded over shared things",
        "household": f"{f.multi} of {n} members share three kinds of things or more, over {days:.0f} days: a household",
        "shop_device": f"{f.widest_day} of {f.widest} came to one device within one day, sharing little else: a shop's device",
        "shared_address": f"{established} of {n} are accounts of long standing that share an address and little else, come "
        f"over {days:.0f} days: {lives}",
        "confirmed_good": f"{f.good} of {n} members were confirmed as good and never as fraud",
    }
