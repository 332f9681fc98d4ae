"""Rings in words: times, amounts, counts and short names, the same on the page and in the terminal. Times are UTC."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rings.ring import Ring, RingMember, RingSummary
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US

_TAIL = 4


@dataclass(frozen=True, slots=True)
class Money:
    """How amounts of the tenant are written."""

    currency: str = ""
    exponent: int = 2

    def text(self, minor: int) -> str:
        return f"{self.number(minor)} {self.currency}".rstrip()

    def number(self, minor: int) -> str:
        return f"{minor / 10**self.exponent:,.{self.exponent}f}"


def moment(us: int) -> str:
    return _utc(us).strftime("%Y-%m-%d %H:%M")


def moment_within(us: int, span_us: int) -> str:
    """The time of day where a day says enough, else with the date; the date alone where years matter."""
    if span_us <= DAY_US:
        return _utc(us).strftime("%H:%M")
    return _utc(us).strftime("%m-%d %H:%M" if span_us <= 300 * DAY_US else "%Y-%m-%d")


def lasting(us: int) -> str:
    """A duration in its two largest units that matter: `3 h 12 min`, `5 days`."""
    if us < MINUTE_US:
        return "under a minute"
    if us < HOUR_US:
        return f"{us // MINUTE_US} min"
    if us < DAY_US:
        minutes = us % HOUR_US // MINUTE_US
        return f"{us // HOUR_US} h" + (f" {minutes} min" if minutes else "")
    if us < 10 * DAY_US:
        hours = us % DAY_US // HOUR_US
        return count(us // DAY_US, "day") + (f" {hours} h" if hours else "")
    return count(us // DAY_US, "day")


def count(n: int, name: str) -> str:
    """`1 address`, `2 addresses`, `1,200 events`."""
    if n == 1:
        return f"1 {name}"
    if name.endswith("s"):
        return f"{n:,} {name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{n:,} {name[:-1]}ies"
    return f"{n:,} {name}s"


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def kind_name(kind: str) -> str:
    return visible(kind).replace("_", " ")


def visible(text: str) -> str:
    """Identifiers come from outside: what steers a terminal or turns the writing direction becomes a mark that is seen."""
    if text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNSEEN else c for c in text)


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def short_names(values: Iterable[str], most: int) -> dict[str, str]:
    """Each value as it is, or by its beginning and end; never two values by the same name, even if one gets longer."""
    full = {value: visible(value) for value in values}
    short = {value: _short(text, most) for value, text in full.items()}
    taken = Counter(short.values())
    while any(taken[name] > 1 and len(name) < len(full[value]) for value, name in short.items()):
        most += 2
        short = {value: _short(full[value], most) if taken[name] > 1 else name for value, name in short.items()}
        taken = Counter(short.values())
    return short


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - _TAIL - 1]}…{text[-_TAIL:]}"


def story(ring: Ring) -> str:
    """What the ring is, in two sentences."""
    n, kinds = ring.summary.users, Counter(thing.kind for thing in ring.shared)
    things = listed([_some(many, kind_name(kind)) for kind, many in kinds.items()])
    joined = [m.joined_us for m in ring.members]
    apart = max(joined, default=0) - min(joined, default=0)
    within = (
        "within a minute" if apart < MINUTE_US else f"{'within' if apart < 7 * DAY_US else 'over'} {lasting(apart)}"
    )
    spread = f" and joined {within}" if len(joined) > 1 else ""
    first = f"{count(n, 'account')} share {things or 'nothing any more'}{spread}."
    notes = [
        f"{'all' if many == n > 1 else ''} {many:,} {one if many == 1 else more}".strip()
        for many, one, more in (
            (sum(m.departed for m in ring.members), "left what it usually uses", "left what they usually use"),
            (sum(m.young for m in ring.members), "was under a day old", "were under a day old"),
            (sum(m.fraud for m in ring.members), "is confirmed as fraud", "are confirmed as fraud"),
        )
        if many
    ]
    second = listed(notes)
    return f"{first} {second[0].upper()}{second[1:]}." if second else first


def _some(n: int, name: str) -> str:
    return count(n, name) if n > 1 else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def marks(member: RingMember) -> list[str]:
    """What sets an account apart, gravest first."""
    pairs = ((member.fraud, "confirmed fraud"), (member.young, "young"), (member.departed, "left its usual"))
    return [name for holds, name in pairs if holds]


def patterns_text(summary: RingSummary) -> str:
    return ", ".join(kind_name(p) for p in summary.patterns)


def _utc(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
