"""The shapes a ring is drawn with, as SVG: one for each kind of shared entity, and what sets an account apart."""

from __future__ import annotations

from rings.markup import Markup, join, tag
from rings.ring import RingMember
from rings.words import visible

_ICONS = {
    "device": "M5 6h14v9H5zM2.5 18.5h19",
    "card": "M3 6h18v12.5H3zM3 10.2h18M6 15h4",
    "address": "M3.5 11.5 12 4l8.5 7.5M6 10v9.5h12V10M10 19.5V14h4v5.5",
    "email": "M3 6h18v12.5H3zM3 7l9 7 9-7",
    "phone": "M7.5 2.5h9v19h-9zM11 18.3h2",
    "bank_account": "M3 9.5 12 4l9 5.5zM5.5 10v7M10 10v7M14 10v7M18.5 10v7M3 20h18",
    "ip": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M3 12h18M12 3c5 5 5 13 0 18M12 3c-5 5-5 13 0 18",
    "merchant": "M4 10v10h16V10M3 9.5 5 4h14l2 5.5zM9 20v-6h6v6",
    "promo": "M5 19 19 5M7 5.2a2.3 2.3 0 1 0 .01 0M17 14.2a2.3 2.3 0 1 0 .01 0",
}
TILE = 30


def thing_tile(kind: str, verdict: str = "") -> Markup:
    """A tile around 0, 0: the kind's icon, its first letter for a kind we do not know; dashed around if sharing is innocent."""
    half = TILE / 2
    tile = tag("rect", x=-half, y=-half, width=TILE, height=TILE, rx=7, class_="tile")
    if kind in _ICONS:
        icon = tag("path", d=_ICONS[kind], class_="icon", transform="translate(-10.2 -10.2) scale(.85)")
    else:
        icon = tag("text", visible(kind)[:1].upper() or "?", y=5.5, class_="letter")
    around = tag("rect", x=-half - 4, y=-half - 4, width=TILE + 8, height=TILE + 8, rx=10, class_="verdict")
    return join(around if verdict else Markup(), tile, icon)


def kind_class(kind: str) -> str:
    """The style of a kind; kinds that a data set declares share one."""
    return f"k-{kind}" if kind in _ICONS else "k-other"


def account_mark(*, young: bool = False, departed: bool = False, fraud: bool = False) -> Markup:
    """Around 0, 0. A circle, a triangle for a young account, filled and crossed for confirmed fraud, an arrow out if it departed."""
    body = Markup('<path d="M0-9.5 9 6.5H-9z" class="who"/>' if young else '<circle r="7.5" class="who"/>')
    cross = Markup('<path d="M-2.8-1.8 2.8 3.8M2.8-1.8-2.8 3.8" class="cross"/>' if young else
                   '<path d="M-2.8-2.8 2.8 2.8M2.8-2.8-2.8 2.8" class="cross"/>')  # fmt: skip
    arrow = Markup('<path d="M6.5-6.5 12-12M7.8-12H12v4.2" class="away"/>')
    inner = join(body, cross if fraud else Markup(), arrow if departed else Markup())
    return tag("g", inner, class_="mark fraud" if fraud else "mark")


def mark_of(member: RingMember) -> Markup:
    return account_mark(young=member.young, departed=member.departed, fraud=member.fraud)


def small(inner: Markup, *, scale: float = 0.6, class_: str = "") -> Markup:
    """A shape of its own, for a line of text."""
    return tag("svg", tag("g", inner, transform=f"scale({scale})"), viewBox="-11 -11 22 22", class_=f"small {class_}".rstrip(),
               width=18, height=18, aria_hidden="true")  # fmt: skip
