"""The timeline of a ring as SVG: a row an account, when it joined, when its links were in use, its alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rings.markup import Markup, tag
from rings.ring import RingLink, RingMember
from rings.shapes import account_mark, kind_class
from rings.shown import Shown, ThingKey, account_keys, by_user, thing_keys
from rings.words import count, moment, short_names
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Alert

_STEPS = (
    *(n * MINUTE_US for n in (1, 5, 10, 30)), *(n * HOUR_US for n in (1, 2, 3, 6, 12)),
    *(n * DAY_US for n in (1, 2, 4, 7, 14, 28, 61, 122, 365, 730, 1826)),
)  # fmt: skip
_TOP = 34
_APART = 9.0
"""Nearer to the mark of joining than this, the mark of the last event is left out."""
_EARLIER = 0.15
"""Links from long before the ring was born are cut at this part of its life before its birth."""


@dataclass(frozen=True, slots=True)
class Strip:
    width: float
    names: float
    name_length: int
    ticks: int


WIDE = Strip(1180, 168, 20, 9)
NARROW = Strip(356, 96, 12, 3)


@dataclass(frozen=True, slots=True)
class _Scale:
    start_us: int
    end_us: int
    left: float
    right: float

    def x(self, us: int) -> float:
        part = (us - self.start_us) / max(1, self.end_us - self.start_us)
        return self.left + min(1.0, max(0.0, part)) * (self.right - self.left)


def timeline(shown: Shown, alerts: Sequence[Alert], strip: Strip, name: str) -> Markup:
    members = shown.members
    line = 22 if len(members) <= 16 else 17 if len(members) <= 40 else 14
    scale = _scale(shown, alerts, strip)
    names, keys = short_names((m.user for m in members), strip.name_length), account_keys(shown.ring)
    links, things = by_user(shown.links), thing_keys(shown.ring)
    above = [a for a in alerts if not any(_own(a, m.user) for m in members)]
    top = _TOP + (line if above else 0)
    height = top + line * len(members) + 18
    rows = [
        _row(m, names[m.user], keys[m.user], top + line * (n + 0.5), line, scale,
             _bars(links.get(m.user, []), line, scale, things),
             [a for a in alerts if _own(a, m.user)])
        for n, m in enumerate(members)
    ]  # fmt: skip
    lane = [
        tag("text", "whole ring", x=scale.left - 16, y=_TOP + line / 2 + 4, class_="name whole", text_anchor="end"),
        *(_alert(a, scale, _TOP + line / 2) for a in above),
    ]
    born = scale.x(shown.ring.summary.born_us)
    return tag(
        "svg",
        *_axis(scale, strip, height),
        tag("line", x1=born, x2=born, y1=_TOP - 6, y2=height - 13, class_="born"),
        tag("text", "born", x=born, y=height - 2, class_="bornname"),
        *(lane if above else []),
        tag("g", *rows),
        class_=f"timeline {name}",
        viewBox=f"0 0 {strip.width:.0f} {height:.0f}",
        role="group",
        aria_label=f"When the accounts joined and used what they share, {moment(scale.start_us)} to {moment(scale.end_us)}",
    )


def _scale(shown: Shown, alerts: Sequence[Alert], strip: Strip) -> _Scale:
    born, end = shown.ring.summary.born_us, max([shown.end_us, *(a.first_at_us for a in alerts)])
    first = min([shown.start_us, *(k.first_us for k in shown.links)])
    start = max(first, min(born, shown.start_us) - int(_EARLIER * (end - born)))
    if end - start < MINUTE_US:
        end = start + MINUTE_US
    return _Scale(start, end, strip.names + 14, strip.width - 14)


def _own(alert: Alert, user: str) -> bool:
    """An alert stands in the rows of the few accounts it is about; one about many stands above."""
    return (alert.kind == "user" and alert.entity == user) or (user in alert.accounts and len(alert.accounts) <= 3)


def _row(
    m: RingMember, name: str, key: str, y: float, line: float, scale: _Scale, bars: list[Markup], alerts: list[Alert]
) -> Markup:
    joined, last = scale.x(m.joined_us), scale.x(m.last_us)
    size = 0.75 if line > 20 else 0.6 if line > 15 else 0.5
    return tag(
        "g",
        tag("rect", x=0, y=-line / 2, width=scale.right + 14, height=line, class_="band"),
        tag("text", name, x=scale.left - 16, y=4, class_="name", text_anchor="end"),
        tag("line", x1=scale.left, x2=scale.right, y1=0, y2=0, class_="track"),
        *bars,
        tag("rect", x=last - 1, y=-5.5, width=2, height=11, class_="lastmark") if last - joined > _APART else Markup(),
        tag("g", account_mark(young=m.young, fraud=m.fraud), transform=f"translate({joined:.1f} 0) scale({size})"),
        *(_alert(a, scale, 0) for a in alerts),
        tag("title", f"joined {moment(m.joined_us)}, last {moment(m.last_us)}"),
        class_="node row",
        data_node=key,
        transform=f"translate(0 {y:.1f})",
    )


def _bars(links: list[RingLink], line: float, scale: _Scale, things: dict[ThingKey, str]) -> list[Markup]:
    """One under the other, in the order of the ring's shared things."""
    order = sorted(links, key=lambda k: int(things[k.kind, k.entity][1:]))
    each = min(6.0, (line - 5) / max(1, len(order)))
    tops = [(n - len(order) / 2) * each for n in range(len(order))]
    return [_bar(k, top, each, things[k.kind, k.entity], scale) for k, top in zip(order, tops, strict=True)]


def _bar(link: RingLink, top: float, each: float, thing: str, scale: _Scale) -> Markup:
    left, right = scale.x(link.first_us), scale.x(link.last_us)
    high = max(1.2, each - 1)
    bar = tag("rect", x=left - 2.5, y=top + (each - high) / 2, width=max(5.0, right - left + 5), height=high, rx=1.0,
              class_=f"bar {kind_class(link.kind)}")  # fmt: skip
    cut = link.first_us < scale.start_us
    before = tag("path", d=f"M{left - 3:.1f} {top + each / 2 - 3:.1f}l-5 3 5 3z", class_="before") if cut else Markup()
    return tag("g", bar, before, class_="use", data_thing=thing)


def _alert(alert: Alert, scale: _Scale, y: float) -> Markup:
    says = f"{alert.level} alert {moment(alert.first_at_us)}, {count(alert.events, 'event')}: {alert.text}"
    x = scale.x(alert.first_at_us)
    return tag(
        "path",
        tag("title", says),
        d=f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z",
        class_=f"alert {level_class(alert.level)}",
    )


def level_class(level: str) -> str:
    return f"level-{level.lower()}" if level.isalpha() else "level-low"


def _axis(scale: _Scale, strip: Strip, height: float) -> list[Markup]:
    span = scale.end_us - scale.start_us
    step = next((s for s in _STEPS if span / s <= strip.ticks), _STEPS[-1])
    first = -(-scale.start_us // step) * step
    drawn: list[Markup] = []
    day = ""
    for at in range(first, scale.end_us + 1, step):
        x, when = scale.x(at), datetime.fromtimestamp(at / 1e6, UTC)
        date = f"{when.day} {when:%b %Y}" if span > 300 * DAY_US else f"{when.day} {when:%b}"
        text = date if step >= DAY_US else when.strftime("%H:%M")
        drawn.append(tag("line", x1=x, x2=x, y1=_TOP - 4, y2=height - 16, class_="tick"))
        drawn.append(tag("text", text, x=x, y=24, class_="ticktext"))
        if step < DAY_US and date != day:
            drawn.append(tag("text", date, x=x, y=11, class_="ticktext date"))
            day = date
    return drawn
