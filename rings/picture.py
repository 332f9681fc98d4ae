"""The picture of a ring as SVG: accounts around, what they share inside, a line for each link."""

from __future__ import annotations

import math

from rings.layout import Frame, Layout, Spot, lay_out
from rings.markup import Markup, join, tag
from rings.ring import RingLink, RingMember, SharedThing
from rings.shapes import account_mark, kind_class, mark_of, small, thing_tile
from rings.shown import Shown, account_keys, thing_keys
from rings.words import count, kind_name, marks, moment, moment_within, short_names, visible

_AGES = (0.12, 0.4, 0.7)
"""A link's shade: where its last event lies between the ring's end (0) and its begin (1)."""
_NAME = {True: 18, False: 10}


def picture(shown: Shown, frame: Frame, name: str) -> Markup:
    """`name` is the drawing's class; a page holds one for wide and one for narrow screens."""
    wide = frame.width > 500
    accounts, things = account_keys(shown.ring), thing_keys(shown.ring)
    users = short_names((m.user for m in shown.members), _NAME[wide])
    layout = lay_out(shown, frame, max(len(name) for name in users.values()))
    entities = short_names((t.entity for t in shown.things), (22 if len(shown.things) <= 4 else 14) if wide else 10)
    named = len(shown.things) <= frame.thing_names
    links = [
        _link(link, shown, layout, f"{accounts[link.user]} {things[link.kind, link.entity]}")
        for link in sorted(shown.links, key=lambda k: (k.last_us, k.user, k.kind, k.entity))
    ]
    nodes = [_account(m, layout.accounts[m.user], users[m.user], accounts[m.user]) for m in shown.members]
    shared = [
        _thing(t, layout.things[t.kind, t.entity], entities[t.entity] if named else "", things[t.kind, t.entity])
        for t in sorted(shown.things, key=lambda t: layout.things[t.kind, t.entity][1])
    ]
    title = f"{count(len(shown.members), 'account')} and what they share"
    return tag(
        "svg",
        tag("g", *links, class_="links"),
        tag("g", *shared, *nodes, class_="nodes"),
        tag(
            "g",
            *(
                _when(link, shown, layout, f"{accounts[link.user]} {things[link.kind, link.entity]}")
                for link in shown.links
            ),
        ),
        class_=f"picture {name}",
        viewBox=f"0 {layout.top:.0f} {layout.width:.0f} {layout.height:.0f}",
        role="group",
        aria_label=title,
    )


def _ends(link: RingLink, layout: Layout) -> tuple[Spot, tuple[float, float]]:
    return layout.accounts[link.user], layout.things[link.kind, link.entity]


def _link(link: RingLink, shown: Shown, layout: Layout, ends: str) -> Markup:
    spot, (x, y) = _ends(link, layout)
    age = (shown.end_us - link.last_us) / max(1, shown.end_us - shown.start_us)
    shade = sum(age > limit for limit in _AGES)
    at = {"x1": spot.x, "y1": spot.y, "x2": x, "y2": y}
    return tag(
        "g",
        tag("line", **at, class_="hit"),
        tag("line", **at, class_=f"line age{shade}", stroke_width=round(thickness(link.events), 1)),
        tag("title", link_text(link)),
        class_="link",
        data_ends=ends,
    )


def thickness(events: int) -> float:
    return min(6.0, 1.5 + 1.5 * math.log10(max(1, events)))


def link_text(link: RingLink) -> str:
    until = "" if link.last_us == link.first_us else f" to {moment(link.last_us)}"
    name = f"{visible(link.user)} on {kind_name(link.kind)} {visible(link.entity)}"
    return f"{name}: {count(link.events, 'event')}, {moment(link.first_us)}{until}"


def _when(link: RingLink, shown: Shown, layout: Layout, ends: str) -> Markup:
    """Time and count on the link, shown while an end of it is looked at."""
    spot, (x, y) = _ends(link, layout)
    text = f"{moment_within(link.first_us, shown.end_us - shown.start_us)} · {link.events:,}×"
    part = 0.34
    return tag(
        "text", text, x=spot.x + (x - spot.x) * part, y=spot.y + (y - spot.y) * part + 3.5, class_="when", data_ends=ends,
        aria_hidden="true",
    )  # fmt: skip


def _account(member: RingMember, spot: Spot, name: str, key: str) -> Markup:
    notes = "".join(f", {mark}" for mark in marks(member))
    return _node(
        key,
        f"account {visible(member.user)}{notes}",
        "account",
        tag("circle", r=13, class_="halo"),
        mark_of(member),
        tag("text", name, x=spot.name_x - spot.x, y=spot.name_y - spot.y, text_anchor=spot.anchor, class_="name"),
        at=(spot.x, spot.y),
    )


def _thing(thing: SharedThing, at: tuple[float, float], name: str, key: str) -> Markup:
    verdict = kind_name(thing.verdict)
    says = f"{kind_name(thing.kind)} {visible(thing.entity)}, {count(thing.users, 'account')}"
    lines = [tag("text", name, y=29, class_="name")] if name else []
    if name and verdict:
        lines.append(tag("text", verdict, y=40, class_="says"))
    return _node(
        key,
        says + (f", {verdict}" if verdict else ""),
        f"thing {kind_class(thing.kind)}",
        tag("rect", x=-21, y=-21, width=42, height=42, rx=11, class_="halo"),
        thing_tile(thing.kind, thing.verdict),
        tag(
            "g",
            tag("circle", r=8.5),
            tag("text", str(thing.users), y=3.6),
            class_="users",
            transform="translate(15 -15)",
        ),
        *lines,
        at=at,
    )


def _node(key: str, label: str, class_: str, *shapes: Markup, at: tuple[float, float]) -> Markup:
    return tag(
        "g", *shapes, tag("title", label), class_=f"node {class_}", data_node=key, tabindex=-1, role="button", aria_label=label,
        transform=f"translate({at[0]:.1f} {at[1]:.1f})",
    )  # fmt: skip


def legend(shown: Shown) -> Markup:
    """What the shapes of this picture mean; only those that are in it."""
    items: list[tuple[Markup, str]] = []
    for kind in dict.fromkeys(t.kind for t in shown.things):
        items.append((small(thing_tile(kind), class_=kind_class(kind)), kind_name(kind)))
    if any(t.verdict for t in shown.things):
        items.append((Markup('<svg class="small" viewBox="-11 -11 22 22" width="18" height="18" aria-hidden="true">'
                             '<rect x="-8" y="-8" width="16" height="16" rx="4" class="verdict"/></svg>'), "innocent or crowded"))  # fmt: skip
    items.append((small(account_mark(), scale=0.8), "account"))
    if any(m.young for m in shown.members):
        items.append((small(account_mark(young=True), scale=0.8), "under a day old when it joined"))
    if any(m.departed for m in shown.members):
        items.append((small(account_mark(departed=True), scale=0.8), "left what it usually uses"))
    if any(m.fraud for m in shown.members):
        items.append((small(account_mark(fraud=True), scale=0.8), "confirmed fraud"))
    items.append((_sample(), "link: darker is later, wider is more events"))
    return tag("ul", *(tag("li", shape, text) for shape, text in items), class_="legend")


def _sample() -> Markup:
    lines = [
        tag("line", x1=x, x2=x + 8, y1=9, y2=9, class_=f"line age{shade}", stroke_width=width)
        for x, shade, width in ((1, 3, 1.2), (11, 2, 2.0), (21, 1, 3.0), (31, 0, 4.5))
    ]
    return tag("svg", join(*lines), viewBox="0 0 40 18", width=40, height=18, class_="sample", aria_hidden="true")
