"""A ring on one page: picture, times, reasons. One file that asks nothing of any network, safe to open and to serve.

Everything that moves is in `page.js`, everything about looks in `page.css`; both are put into the page, and its policy
allows these two and nothing else. Values from outside enter through `rings.markup` only.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from rings import layout, timeline
from rings.entry import RingEntry
from rings.markup import Markup, join, tag
from rings.panels import accounts_table, alerts_list, cards, chips, history_table, risk_bar, things_table, token, why
from rings.picture import legend, picture
from rings.ring import Ring
from rings.shown import Shown, fewer, shown_of
from rings.words import Money, count, kind_name, lasting, moment, short_names, story, visible
from ringwatch.model import Alert, Level, Reason

_NARROW_ACCOUNTS, _NARROW_THINGS = 24, 12
_GRAVE, _RAISED = 0.6, 0.3
"""Risks from which the number is red, amber."""
_NOTHING: Mapping[str, Sequence[Reason]] = MappingProxyType({})


def ring_page(
    ring: Ring,
    alerts: Sequence[Alert] = (),
    *,
    reasons: Mapping[str, Sequence[Reason]] = _NOTHING,
    money: Money = Money(),  # noqa: B008 - frozen
    csp_nonce: str = "",
    history: Sequence[RingEntry] = (),
) -> str:
    """The page as HTML. `reasons` are by alert id; `history`: the last entries, oldest first. `csp_nonce` is the server's, where its
    own policy names one."""
    style, script = _own_text("page.css"), _own_text("page.js")
    shown = shown_of(ring)
    alerts = sorted(alerts, key=lambda a: (-_severity(a), -a.score, a.first_at_us, a.alert_id))
    nonce = csp_nonce or None
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=content_security_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"Ring {visible(ring.summary.ring_id)}, risk {ring.summary.risk:.2f}"),
        tag("style", style, nonce=nonce),
    )
    body = tag("body", _main(shown, alerts, reasons, money, history), tag("script", script, nonce=nonce))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def content_security_policy() -> str:
    """What the page needs: its own style and script, by their hashes. Fit for a header too."""
    hashes = [b64encode(hashlib.sha256(_own_text(f).encode()).digest()).decode() for f in ("page.css", "page.js")]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _own_text(name: str) -> Markup:
    return Markup(files("rings").joinpath(name).read_text("utf-8"))


def _severity(alert: Alert) -> int:
    return Level[alert.level] if alert.level in Level.__members__ else 0


def _main(
    shown: Shown,
    alerts: Sequence[Alert],
    reasons: Mapping[str, Sequence[Reason]],
    money: Money,
    history: Sequence[RingEntry],
) -> Markup:
    looked_at = tag(
        "div",
        tag("button", "close", type="button", class_="close", hidden=True),
        tag("p", "Point at an account or a shared entity to see its links, times and counts; a click keeps it. "
            "Arrow keys go from one to the next.", class_="note hint"),
        cards(shown, money),
        class_="looked", aria_live="polite",
    )  # fmt: skip
    part = fewer(shown, accounts=_NARROW_ACCOUNTS, things=_NARROW_THINGS)
    drawing = tag(
        "section",
        tag("h2", "Who shares what"),
        picture(shown, layout.WIDE, "wide"),
        picture(part, layout.NARROW, "narrow"),
        legend(shown),
        _left_out(shown, "wide"),
        _left_out(part, "narrow"),
        class_="panel drawing",
    )
    aside = tag("div", tag("section", tag("h2", "Why"), why(shown.ring), class_="panel"),
                tag("section", tag("h2", "Looked at"), looked_at, class_="panel inspector"), class_="side")  # fmt: skip
    when = tag(
        "section",
        tag("h2", "When"),
        tag("div", timeline.timeline(shown, alerts, timeline.WIDE, "wide"), class_="scroll"),
        timeline.timeline(part, alerts, timeline.NARROW, "narrow"),
        tag("p", "Bars: a shared entity in use, in its colour. Marks: the account joins. Upright: its last event. Diamonds: alerts. "
            "Times are UTC.", class_="note"),
        class_="panel",
    )  # fmt: skip
    return tag(
        "main",
        _header(shown.ring, money),
        tag("div", drawing, aside, class_="top"),
        when,
        tag("section", tag("h2", "Shared entities"), things_table(shown.ring, money), class_="panel"),
        tag("section", tag("h2", "Accounts"), accounts_table(shown.ring, money), class_="panel"),
        tag("section", tag("h2", "History"), history_table(history), class_="panel"),
        tag("section", tag("h2", "Alerts"), alerts_list(alerts, reasons, money), class_="panel alerts"),
        tag(
            "footer",
            f"Settled {moment(shown.ring.settled_us)} UTC: expiry, hubs and communities as of then. Ringwatch.",
        ),
    )


def _header(ring: Ring, money: Money) -> Markup:
    s = ring.summary
    founding = ring.founding_event
    name = token(founding, short_names([founding], 18)[founding])
    facts = (
        ("accounts", join(f"{s.users:,}"), f"{sum(m.fraud for m in ring.members):,} confirmed fraud"),
        ("shared entities", join(f"{s.things:,}"), _kinds(ring)),
        ("exposure", join(money.text(s.amount_minor)), "over shared entities"),
        ("born", join(moment(s.born_us)), join("by event ", name)),
        ("last activity", join(moment(s.last_us)), f"{lasting(s.last_us - s.born_us)} after"),
    )
    tiles = [tag("div", tag("dt", name), tag("dd", tag("b", value), tag("span", note))) for name, value, note in facts]
    title = tag("h1", tag("span", "Ring "), token(s.ring_id), chips([kind_name(p) for p in s.patterns]))
    tenant = tag("p", f"Ringwatch · tenant {visible(s.tenant)}", class_="where")
    grade = "grave" if s.risk >= _GRAVE else "raised" if s.risk >= _RAISED else "slight"
    number = tag("dd", tag("b", f"{s.risk:.2f}"), risk_bar(ring.parts, s.risk))
    risk = tag("div", tag("dt", "risk"), number, class_=f"risk {grade}")
    return tag("header", tenant, title, tag("p", story(ring), class_="story"), tag("dl", risk, *tiles))


def _kinds(ring: Ring) -> str:
    kinds = list(dict.fromkeys(kind_name(t.kind) for t in ring.shared))
    return ", ".join(kinds[:3]) + (f" and {count(len(kinds) - 3, 'more kind')}" if len(kinds) > 3 else "")


def _left_out(shown: Shown, place: str) -> Markup:
    left = [
        count(n, name)
        for n, name in ((shown.accounts_left_out, "account"), (shown.things_left_out, "shared entity"))
        if n
    ]
    if not left:
        return Markup()
    return tag(
        "p",
        f"The strongest are drawn: {len(shown.members):,} accounts and {count(len(shown.things), 'shared entity')}. "
        f"Not drawn: {' and '.join(left)}; the tables below go on, the exports hold all that is kept.",
        class_=f"note cut {place}",
    )  # fmt: skip
