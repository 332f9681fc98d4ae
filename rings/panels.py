"""The parts of a ring's page beside the pictures: why, the looked-at node, tables, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rings.as_of import sentence
from rings.entry import RingEntry
from rings.markup import Markup, join, tag
from rings.ring import Ring, RingLink, RiskPart, SharedThing
from rings.shapes import kind_class, mark_of, small, thing_tile
from rings.shown import Shown, account_keys, by_thing, by_user, thing_keys
from rings.timeline import level_class
from rings.words import Money, count, kind_name, lasting, marks, moment, moment_within, short_names, visible
from ringwatch.model import Alert, Reason

MOST_ROWS = 200
MOST_ALERTS = 50


def token(value: str, short: str | None = None) -> Markup:
    """An identifier: short where it is long, whole when pointed at, and a click copies it."""
    full = visible(value)
    return tag("button", short or full, type="button", class_="id", title=f"{full}\nclick to copy", data_copy=value)


def risk_bar(parts: Sequence[RiskPart], risk: float) -> Markup:
    """The parts one after another from 0; what lowers the risk comes last and takes away from the right."""
    width = max(1.0, sum(p.value for p in parts if p.value > 0))
    at, drawn = 0.0, []
    for n, part in enumerate(sorted(parts, key=lambda p: -p.value)):
        left = min(at, at + part.value)
        style = f"up up{n % 3}" if part.value > 0 else "down"
        title = tag("title", f"{part.value:+.2f} {part.text}")
        drawn.append(
            tag("rect", title, x=_part(left, width), y=0, width=_part(abs(part.value), width), height=10, class_=style)
        )
        at += part.value
    mark = tag("rect", x=_part(max(0.0, risk), width) - 0.75, y=-3, width=1.5, height=16, class_="needle")
    track = tag("rect", x=0, y=0, width=200, height=10, class_="track")
    return tag("svg", track, *drawn, mark, viewBox="-1 -3 202 16", preserveAspectRatio="none", class_="riskbar", role="img",
               aria_label=f"risk {risk:.2f}")  # fmt: skip


def _part(value: float, width: float) -> float:
    return round(200 * value / width, 1)


def why(ring: Ring) -> Markup:
    """The risk's parts as sentences, each bar beginning where the one before it ended."""
    parts = sorted(ring.parts, key=lambda p: -p.value)
    width = max(1.0, sum(p.value for p in parts if p.value > 0))
    at, rows = 0.0, []
    for part in parts:
        left = min(at, at + part.value)
        bar = tag("svg",
                  tag("rect", x=0, y=0, width=200, height=6, class_="track"),
                  tag("rect", x=_part(left, width), y=0, width=max(1.0, _part(abs(part.value), width)), height=6,
                      class_="up" if part.value > 0 else "down"),
                  viewBox="0 0 200 6", preserveAspectRatio="none", class_="partbar", aria_hidden="true")  # fmt: skip
        number = tag(
            "span", f"{part.value:+.2f}".replace("-", "−"), class_="number up" if part.value > 0 else "number down"
        )
        rows.append(tag("li", number, tag("div", tag("p", part.text), bar), title=part.code))
        at += part.value
    total = tag(
        "li",
        tag("span", f"{ring.summary.risk:.2f}", class_="number"),
        tag("div", tag("p", "risk of the ring")),
        class_="total",
    )
    return tag("ol", *rows, total, class_="why")


def cards(shown: Shown, money: Money) -> Markup:
    """What is known about each drawn node, hidden until it is looked at."""
    ring, users, things = shown.ring, by_user(shown.links), by_thing(shown.links)
    accounts, entities = account_keys(ring), thing_keys(ring)
    values = [*accounts, *(e for _, e in entities)]
    names, shorter = short_names(values, 22), short_names(values, 15)
    span = shown.end_us - shown.start_us
    made = []
    for m in shown.members:
        facts = [("joined", moment(m.joined_us)), ("last", moment(m.last_us))]
        chips_ = [*marks(m), *(kind_name(p) for p in m.patterns)]
        rows = [
            _use(k, f"{kind_name(k.kind)} ", shorter[k.entity], k.entity, span, money) for k in users.get(m.user, ())
        ]
        icon = small(mark_of(m), scale=0.9)
        made.append(_card(accounts[m.user], join(icon, "account ", token(m.user, names[m.user])), chips_, facts, rows))
    for t in shown.things:
        key = (t.kind, t.entity)
        facts = [("accounts", f"{t.users:,}"), ("first", moment(t.first_us)), ("last", moment(t.last_us))]
        rows = [
            _use(k, "", shorter[k.user], k.user, span, money)
            for k in sorted(things.get(key, ()), key=lambda k: k.first_us)
        ]
        icon = small(thing_tile(t.kind), class_=kind_class(t.kind))
        head = join(icon, f"{kind_name(t.kind)} ", token(t.entity, names[t.entity]))
        made.append(_card(entities[key], head, [kind_name(t.verdict)] if t.verdict else [], facts, rows))
    return join(*made)


def _card(
    key: str, head: Markup, labels: Sequence[str], facts: Sequence[tuple[str, str]], rows: Sequence[Markup]
) -> Markup:
    line = tag("p", *(tag("span", f"{name} ", tag("b", value)) for name, value in facts), class_="facts")
    columns = tag("tr", tag("th", ""), tag("th", "from"), tag("th", "to"), tag("th", "events"), tag("th", "amount"))
    table = tag("table", tag("thead", columns), tag("tbody", *rows))
    return tag("section", tag("h3", head), chips(labels), line, table, class_="card", data_card=key, hidden=True)


def _use(link: RingLink, kind: str, name: str, value: str, span_us: int, money: Money) -> Markup:
    return tag(
        "tr",
        tag("td", kind, tag("code", name, title=visible(value))),
        tag("td", moment_within(link.first_us, span_us)),
        tag("td", moment_within(link.last_us, span_us)),
        tag("td", f"{link.events:,}"),
        tag("td", money.number(link.amount_minor) if link.amount_minor else "–"),
    )


def chips(labels: Sequence[str]) -> Markup:
    return tag("span", *(tag("span", label, class_="chip") for label in labels), class_="chips") if labels else Markup()


def accounts_table(ring: Ring, money: Money) -> Markup:
    links, keys = by_user(ring.links), account_keys(ring)
    shown = ring.members[:MOST_ROWS]
    names = short_names((m.user for m in shown), 26)
    rows = []
    for m in shown:
        own = links.get(m.user, ())
        amount = sum(k.amount_minor for k in own)
        rows.append(tag(
            "tr",
            tag("th", small(mark_of(m), scale=0.9), token(m.user, names[m.user]), scope="row"),
            tag("td", chips([*marks(m), *map(kind_name, m.patterns)])),
            tag("td", moment(m.joined_us)),
            tag("td", moment(m.last_us)),
            tag("td", f"{len(own):,}", class_="n"),
            tag("td", f"{sum(k.events for k in own):,}", class_="n"),
            tag("td", money.text(amount) if amount else "–", class_="n"),
            data_node=keys[m.user],
        ))  # fmt: skip
    left = max(ring.summary.users, len(ring.members)) - len(shown)
    return _table(
        ("account", "what sets it apart", "joined", "last", "shares", "events", "amount"), rows, left, "account"
    )


def things_table(ring: Ring, money: Money) -> Markup:
    links, keys = by_thing(ring.links), thing_keys(ring)
    shown = ring.shared[:MOST_ROWS]
    names = short_names((t.entity for t in shown), 26)
    rows = []
    for t in shown:
        own = links.get((t.kind, t.entity), ())
        amount = sum(k.amount_minor for k in own)
        icon = small(thing_tile(t.kind), class_=kind_class(t.kind))
        rows.append(tag(
            "tr",
            tag("th", icon, tag("span", kind_name(t.kind), class_="kind"), token(t.entity, names[t.entity]), scope="row"),
            tag("td", _told(t)),
            tag("td", moment(t.first_us)),
            tag("td", f"{moment(t.last_us)}"),
            tag("td", f"{t.users:,}", class_="n"),
            tag("td", f"{sum(k.events for k in own):,}", class_="n"),
            tag("td", money.text(amount) if amount else "–", class_="n"),
            data_node=keys[t.kind, t.entity],
        ))  # fmt: skip
    left = max(ring.summary.things, len(ring.shared)) - len(shown)
    return _table(
        ("shared entity", "verdict", "first", "last", "accounts", "events", "amount"), rows, left, "shared entity"
    )


def _told(thing: SharedThing) -> Markup:
    """What is known of a shared entity besides who uses it."""
    if thing.busted_ring:
        return join("had by busted ring ", token(thing.busted_ring))
    return chips([kind_name(thing.verdict)]) if thing.verdict else join("–")


def history_table(history: Sequence[RingEntry]) -> Markup:
    if not history:
        return tag("p", "No history was kept of this ring.", class_="note")
    names = short_names((e.event_id for e in history), 26)
    rows = [
        tag(
            "tr",
            tag("th", moment(e.at_us), scope="row"),
            tag("td", chips([e.what])),
            tag("td", visible(sentence(e)), class_="said"),
            tag("td", token(e.event_id, names[e.event_id]) if e.event_id else "–"),
        )
        for e in history
    ]
    left = history[0].number - 1
    note = tag("p", f"{count(left, 'earlier entry')}: `timeline` of the ring in GraphQL has them", class_="note")
    return join(
        _table(("as of", "what", "what happened", "event behind it"), rows, 0, "history"), note if left else Markup()
    )


def _table(columns: Sequence[str], rows: Sequence[Markup], left: int, name: str) -> Markup:
    head = tag("tr", *(tag("th", c, scope="col", class_="n" if n > 3 else None) for n, c in enumerate(columns)))
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll", tabindex=0, role="region",
                aria_label=f"table of {name}")  # fmt: skip
    note = tag(
        "p", f"and {count(left, f'more {name}')}: `ringwatch rings show ID --out ring.jsonl` has them", class_="note"
    )
    return join(table, note if left > 0 else Markup())


def alerts_list(alerts: Sequence[Alert], reasons: Mapping[str, Sequence[Reason]], money: Money) -> Markup:
    if not alerts:
        return tag("p", "No alert names this ring or its accounts.", class_="note")
    drawn = []
    for a in alerts[:MOST_ALERTS]:
        why_ = [
            tag(
                "li",
                tag("span", f"{r.contribution:+.2f}".replace("-", "−"), class_="number"),
                tag("span", r.text),
                title=r.code,
            )
            for r in reasons.get(a.alert_id, ())
        ]
        last = f", over {lasting(a.last_at_us - a.first_at_us)}" if a.last_at_us - a.first_at_us >= 60_000_000 else ""
        facts = f"{moment(a.first_at_us)}{last} · {count(a.events, 'event')}"
        facts += f" · {money.text(a.amount_minor)}" if a.amount_minor else ""
        head = tag(
            "h3", tag("span", a.level.lower(), class_=f"level {level_class(a.level)}"), tag("b", f"{a.score:.2f}"),
            tag("span", f" {kind_name(a.kind)} "), token(a.entity, short_names([a.entity], 26)[a.entity]),
        )  # fmt: skip
        text = tag("p", a.text) if not why_ or a.text not in [r.text for r in reasons[a.alert_id]] else Markup()
        drawn.append(tag("article", head, tag("p", facts, class_="when"), text, tag("ol", *why_) if why_ else Markup()))
    left = len(alerts) - MOST_ALERTS
    return join(*drawn, tag("p", f"and {count(left, 'more alert')}", class_="note") if left > 0 else Markup())
