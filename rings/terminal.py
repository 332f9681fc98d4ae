"""Rings in the terminal: a list, and one ring drawn as accounts by what they share. Shapes say all that colours do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rings.as_of import MOST_SHOWN, sentence
from rings.entry import RingEntry
from rings.layout import around
from rings.ring import Ring, RingLink, RingMember, RingSummary
from rings.shown import Shown, ThingKey, by_user, shown_of
from rings.words import (
    Money,
    count,
    kind_name,
    lasting,
    moment,
    moment_within,
    patterns_text,
    short_names,
    story,
    visible,
)
from ringwatch.model import DAY_US, Alert, Reason

_MOST_ACCOUNTS, _MOST_THINGS, _MOST_ALERTS, _MOST_REASONS, _MOST_ENTRIES = 40, 26, 5, 3, 12
_YOUNG, _DEPARTED, _FRAUD, _PLAIN = "△", "→", "×", "○"
_LEAST_STRIP, _MOST_STRIP = 22, 60
_RISK_STYLES = ((0.6, "bold red"), (0.3, "bold yellow"), (-1.0, "bold"))


def print_rings(console: Console, rings: Sequence[RingSummary], total: int, money: Money) -> None:
    """A line a ring; tells how many there are where not all are listed."""
    wide = console.width >= 110
    table = Table(box=None, padding=(0, 1 + wide, 0, 0), header_style="dim", pad_edge=False)
    for name in ("ring", "risk", "users", "things", "patterns", "exposure", "born", "last"):
        justify: JustifyMethod = "right" if name in ("risk", "users", "things", "exposure") else "left"
        table.add_column(name, justify=justify, no_wrap=name != "patterns", overflow="fold")
    tenants = {r.tenant for r in rings}
    names = short_names((r.ring_id for r in rings), 18)
    for r in rings:
        ring = names[r.ring_id] if len(tenants) < 2 else f"{visible(r.tenant)}/{names[r.ring_id]}"
        table.add_row(
            Text(ring, "bold"), Text(f"{r.risk:.2f}", _risk_style(r.risk)), f"{r.users:,}", f"{r.things:,}", Text(patterns_text(r) or "–"),
            money.text(r.amount_minor), _when(r.born_us, wide), _when(r.last_us, wide),
        )  # fmt: skip
    console.print(table)
    more = "" if total <= len(rings) else f"{total:,} rings, the {len(rings):,} riskiest listed (--limit for more). "
    console.print(
        Text(f"{more}`ringwatch rings show RING` draws one; amounts are in {money.currency}, times UTC.", "dim")
    )


def _when(us: int, wide: bool) -> str:
    return moment(us) if wide else moment(us)[:10]


def _risk_style(risk: float) -> str:
    return next(style for least, style in _RISK_STYLES if risk >= least)


def print_ring(
    console: Console, ring: Ring, alerts: Sequence[Alert], reasons: Mapping[str, Sequence[Reason]], money: Money,
    history: Sequence[RingEntry] = (),
) -> None:  # fmt: skip
    """`history`: its last entries, oldest first."""
    shown = shown_of(ring, accounts=_MOST_ACCOUNTS, things=_MOST_THINGS)
    parts = [
        _head(ring, money),
        _why(ring, console.width),
        _shared(shown, console.width),
        _matrix(shown, alerts, console.width),
    ]
    for part in (*parts, _history(history, console.width), _alerts(alerts, reasons, money)):
        console.print(part)
        console.print()


def _head(ring: Ring, money: Money) -> RenderableType:
    s = ring.summary
    title = Text.assemble(
        ("Ring ", "dim"), (visible(s.ring_id), "bold"), ("   " + patterns_text(s) if s.patterns else "", "red")
    )
    facts = Text.assemble(
        "risk ", (f"{s.risk:.2f}", _risk_style(s.risk)), f" · {count(s.users, 'account')} · {count(s.things, 'shared entity')}",
        f" · exposure {money.text(s.amount_minor)}",
    )  # fmt: skip
    times = f"born {moment(s.born_us)} · last {moment(s.last_us)} UTC, {lasting(s.last_us - s.born_us)} after"
    return Group(
        title, Text(story(ring)), Text(), facts, Text(times), Text(f"by event {visible(ring.founding_event)}", "dim")
    )


def _why(ring: Ring, width: int) -> RenderableType:
    """Bars that begin where the one before ended; those that lower the risk are dotted and go back."""
    parts = sorted(ring.parts, key=lambda p: -p.value)
    scale = max(1.0, sum(p.value for p in parts if p.value > 0))
    room = 24 if width < 110 else 40
    table, at = _grid(3), 0.0
    for part in parts:
        left, right = sorted((at, at + part.value))
        start, end = round(room * max(0.0, left) / scale), round(room * max(0.0, right) / scale)
        glyph, style = ("█", "red") if part.value > 0 else ("▒", "green")
        bar = " " * start + glyph * max(1, end - start)
        table.add_row(f"{part.value:+.2f}".replace("-", "−"), Text(bar.ljust(room), style), Text(visible(part.text)))
        at += part.value
    table.add_row(Text(f"{ring.summary.risk:.2f}", "bold"), Text("─" * room, "dim"), Text("risk of the ring", "bold"))
    return _section("Why", table)


def _shared(shown: Shown, width: int) -> RenderableType:
    table = _grid(6)
    span = shown.end_us - shown.start_us
    names = short_names((t.entity for t in shown.things), max(12, width - 62))
    for n, t in enumerate(shown.things):
        times = f"{moment_within(t.first_us, span)} – {moment_within(t.last_us, span)}"
        table.add_row(
            Text(_letter(n), "bold"), Text(kind_name(t.kind)), Text(names[t.entity]), count(t.users, "account"), times,
            Text(kind_name(t.verdict), "green"),
        )  # fmt: skip
    if shown.things_left_out:
        table.add_row("", "", Text(f"and {shown.things_left_out:,} more", "dim"))
    return _section("Shared entities", table)


def _matrix(shown: Shown, alerts: Sequence[Alert], width: int) -> RenderableType:
    """Accounts by shared entities: when each link began and how many events it carries; a strip of time where it fits."""
    span, day = shown.end_us - shown.start_us, shown.end_us - shown.start_us <= DAY_US
    names = short_names((m.user for m in shown.members), 18 if width < 110 else 26)
    letters = {(t.kind, t.entity): n for n, t in enumerate(shown.things)}
    joined = max((len(moment_within(m.joined_us, span)) for m in shown.members), default=5)
    taken = max(cell_len(n) for n in names.values()) + joined + 4 + 8
    cell = 9 if day else 12
    full = taken + cell * len(letters) + 2 <= width
    taken += (cell if full else 3) * len(letters)
    strip = min(_MOST_STRIP, width - taken - 4) if width - taken - 4 >= _LEAST_STRIP else 0

    table = _grid(3 + len(letters) + bool(strip), gap=2 if full else 1)
    ends = (
        f"{moment_within(shown.start_us, span)}{moment_within(shown.end_us, span).rjust(strip - joined)}"
        if strip
        else ""
    )
    heads = [Text(h, "dim") for h in ("account", "", "joined")]
    table.add_row(
        *heads, *(Text(_letter(n), "bold") for n in range(len(letters))), *([Text(ends, "dim")] if strip else [])
    )
    links = by_user(shown.links)
    for m in shown.members if full or strip else _alike(shown):
        cells = [Text("·", "dim") for _ in letters]
        for k in links.get(m.user, ()):
            cells[letters[k.kind, k.entity]] = Text(_cell(k, span, full))
        drawn = [Text(_strip(m, links.get(m.user, ()), alerts, shown, strip))] if strip else []
        table.add_row(Text(names[m.user]), _marks(m), moment_within(m.joined_us, span), *cells, *drawn)
    if shown.accounts_left_out:
        table.add_row(Text(f"and {shown.accounts_left_out:,} more", "dim"))
    return _section("Who shares what", table, Text(_legend(shown, full, bool(strip), bool(alerts)), "dim"))


def _alike(shown: Shown) -> list[RingMember]:
    """Where neither times nor a strip show the order of joining, accounts that share the same things stand together."""
    shared: dict[str, dict[ThingKey, float]] = {m.user: {} for m in shown.members}
    for k in shown.links:
        shared[k.user][k.kind, k.entity] = 1.0
    members = {m.user: m for m in shown.members}
    return [members[user] for user in around(shared)]


def _cell(link: RingLink, span_us: int, full: bool) -> str:
    if full:
        return f"{moment_within(link.first_us, span_us)[: 5 if span_us > DAY_US else None]} {link.events:,}×"
    return str(link.events) if link.events < 10 else "+"


def _marks(m: RingMember) -> Text:
    text = Text(_FRAUD if m.fraud else " ", "bold red")
    return text.append(_YOUNG if m.young else " ", "yellow").append(_DEPARTED if m.departed else " ", "yellow")


def _strip(m: RingMember, links: Sequence[RingLink], alerts: Sequence[Alert], shown: Shown, width: int) -> str:
    start, span = shown.start_us, max(1, shown.end_us - shown.start_us)

    def place(us: int) -> int:
        return min(width - 1, max(0, int((us - start) / span * (width - 1))))

    cells = [" "] * width
    for k in links:
        for i in range(place(k.first_us), place(k.last_us) + 1):
            cells[i] = "━"
    cells[place(m.last_us)] = "┃"
    for a in alerts:
        if (a.kind == "user" and a.entity == m.user) or (len(a.accounts) <= 3 and m.user in a.accounts):
            cells[place(a.first_at_us)] = "◆"
    cells[place(m.joined_us)] = _YOUNG if m.young else _PLAIN
    return "".join(cells)


def _legend(shown: Shown, full: bool, strip: bool, alerts: bool) -> str:
    notes = [
        (any(m.fraud for m in shown.members), f"{_FRAUD} confirmed fraud"),
        (any(m.young for m in shown.members), f"{_YOUNG} under a day old"),
        (any(m.departed for m in shown.members), f"{_DEPARTED} left what it usually uses"),
        (full, "time and 5×: first event on the link, and how many"),
        (not full, "digits: events on the link, + for 10 and more"),
        (strip, f"{_PLAIN} joined ━ uses what is shared ┃ last event"),
        (strip and alerts, "◆ alert"),
    ]
    return "   ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for holds, text in notes if holds)


def _history(history: Sequence[RingEntry], width: int) -> RenderableType:
    if not history:
        return Text("No history was kept of this ring.", "dim")
    table, shown = _grid(2), history[-_MOST_ENTRIES:]
    if before := shown[0].number - 1:
        table.add_row("", Text(f"{count(before, 'earlier entry')}: `--html` has the last {MOST_SHOWN}", "dim"))
    for e in shown:
        by = f"  by event {e.event_id}" if e.event_id and width >= 110 else ""
        table.add_row(moment(e.at_us), Text.assemble(visible(sentence(e)), (visible(by), "dim")))
    return _section("History", table)


def _alerts(alerts: Sequence[Alert], reasons: Mapping[str, Sequence[Reason]], money: Money) -> RenderableType:
    if not alerts:
        return Text("No alert names this ring or its accounts.", "dim")
    table = _grid(3)
    for a in alerts[:_MOST_ALERTS]:
        facts = f"{count(a.events, 'event')}, {money.text(a.amount_minor)}, {moment(a.first_at_us)}"
        table.add_row(
            Text(a.level, _LEVELS.get(a.level, "")),
            f"{a.score:.2f}",
            Text(f"{kind_name(a.kind)} {visible(a.entity)}  {facts}"),
        )
        for r in list(reasons.get(a.alert_id, ()))[:_MOST_REASONS]:
            table.add_row("", Text(f"{r.contribution:+.2f}", "dim"), Text(visible(r.text)))
    if len(alerts) > _MOST_ALERTS:
        table.add_row("", "", Text(f"and {len(alerts) - _MOST_ALERTS:,} more: `--html` has them", "dim"))
    return _section("Alerts", table)


_LEVELS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow"}


def _letter(n: int) -> str:
    return chr(ord("A") + n)


def _grid(columns: int, gap: int = 2) -> Table:
    table = Table.grid(padding=(0, gap, 0, 0))
    for _ in range(columns):
        table.add_column()
    return table


def _section(title: str, *content: RenderableType) -> RenderableType:
    return Group(Text(title, "bold underline"), *(Padding(c, (0, 0, 0, 2)) for c in content))
