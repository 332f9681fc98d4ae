"""Rings as people and programs get them: the page, the terminal, exports."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import msgspec
import networkx as nx
import pytest
from rich.cells import cell_len
from rich.console import Console

from rings.as_of import MOST_SHOWN, latest, sentence
from rings.entry import RingEntry
from rings.export import encode, format_of, graph_of
from rings.layout import NARROW, WIDE, Frame, lay_out
from rings.page import content_security_policy, ring_page
from rings.ring import Ring
from rings.shown import fewer, shown_of
from rings.terminal import print_ring, print_rings
from rings.words import Money, count, lasting, short_names, story, visible
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US
from tests.support.ring_stories import HOSTILE, START_US, alerts_of, chain, family, hostile, large, takeover

STORIES = [takeover, family, chain, large, hostile]
EUR = Money("EUR")


# -- layout


@pytest.mark.parametrize("frame", [WIDE, NARROW])
@pytest.mark.parametrize("story_of", STORIES)
def test_nothing_covers_anything_and_everything_is_inside(story_of, frame: Frame) -> None:
    shown = shown_of(story_of())
    shown = fewer(shown, accounts=24, things=12) if frame is NARROW else shown
    layout = lay_out(shown, frame)
    names = sorted(((s.anchor, s.name_x, s.name_y) for s in layout.accounts.values()), key=lambda n: (n[0], n[2]))
    for (side, x, y), (other, x2, y2) in pairwise(names):
        assert side != other or abs(y2 - y) >= 10.9 or abs(x2 - x) > 60
    for (x, y), (x2, y2) in combinations(layout.things.values(), 2):
        assert max(abs(x2 - x), abs(y2 - y)) >= 30, "tiles do not overlap"
    for x, y in [(s.x, s.y) for s in layout.accounts.values()] + list(layout.things.values()):
        assert 8 <= x <= layout.width - 8
        assert layout.top <= y <= layout.top + layout.height


def test_the_same_ring_lies_the_same_whatever_order_its_links_come_in() -> None:
    ring = large()
    other = msgspec.structs.replace(ring, links=ring.links[::-1])
    assert lay_out(shown_of(ring), WIDE).accounts == lay_out(shown_of(other), WIDE).accounts


def test_a_chain_is_drawn_without_crossings() -> None:
    shown = shown_of(chain())
    layout = lay_out(shown, WIDE)
    lines = [((s.x, s.y), layout.things[k.kind, k.entity]) for k in shown.links if (s := layout.accounts[k.user])]

    def turn(a, b, c) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for (a, b), (c, d) in combinations(lines, 2):
        if a != c and b != d:
            assert turn(a, b, c) * turn(a, b, d) > 0 or turn(c, d, a) * turn(c, d, b) > 0


def test_a_smaller_picture_is_part_of_the_larger() -> None:
    whole = shown_of(large(140, 26))
    part = fewer(whole, accounts=24, things=12)
    assert set(part.members) <= set(whole.members)
    assert set(part.things) <= set(whole.things)
    assert part.accounts_left_out == 140 - len(part.members)
    assert replace(part, ring=whole.ring) == part


# -- the page


class Parsed(HTMLParser):
    """Elements, attributes and text of a page, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(ring: Ring, **more: str) -> str:
    alerts, reasons = alerts_of(ring)
    return ring_page(ring, alerts, reasons=reasons, money=EUR, **more)


def test_page_tells_accounts_things_times_reasons_and_alerts() -> None:
    text = Parsed(page_of(takeover())).text
    for said in ("7 accounts share a device and 2 addresses", "u-48213", "a-locker-4417", "0.93", "+0.38", "−0.07",
                 "7 of 7 accounts left the device", "2026-03-02 10:12", "3,084.60 EUR", "10:12 · 4×",
                 "its device was used by 6 other accounts in 4 h", "+0.56", "confirmed fraud", "account takeover"):  # fmt: skip
        assert said in text


@pytest.mark.parametrize("story_of", STORIES)
def test_page_asks_nothing_of_any_network_and_has_no_inline_style_or_handler(story_of) -> None:
    parsed = Parsed(page_of(story_of()))
    assert [
        name for name, _ in parsed.elements if name in ("link", "img", "iframe", "object", "embed", "form", "base")
    ] == []
    assert (
        sum(name == "script" for name, _ in parsed.elements) == sum(name == "style" for name, _ in parsed.elements) == 1
    )
    for _, attributes in parsed.elements:
        assert not [a for a in attributes if a.startswith("on") or a in ("style", "src", "href", "action")]
    assert "url(" not in page_of(story_of())
    assert "@import" not in page_of(story_of())


def test_values_from_outside_stay_values() -> None:
    parsed = Parsed(page_of(hostile()))
    assert HOSTILE in [a["data-copy"] for _, a in parsed.elements if "data-copy" in a], "copied as it is"
    assert visible(HOSTILE) in " ".join(a.get("title") or "" for _, a in parsed.elements)
    assert "\u202e" not in parsed.text
    assert "\x1b" not in parsed.text
    assert "</title>'\"" in parsed.text


def test_the_policy_allows_exactly_the_style_and_script_of_the_page() -> None:
    page = page_of(takeover(), csp_nonce='n"1')
    for tag in ("style", "script"):
        found = re.search(rf'<{tag} nonce="n&quot;1">(.*?)</{tag}>', page, re.S)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in content_security_policy()
    metas = [a["content"] for name, a in Parsed(page).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert metas == [content_security_policy()]
    assert content_security_policy().startswith("default-src 'none'")


def test_page_of_a_large_ring_draws_the_strongest_and_says_so() -> None:
    ring = large(140, 26)
    parsed = Parsed(ring_page(ring))
    assert "60 accounts and 30 shared entities. Not drawn: 80 accounts and 73 shared entities" in parsed.text
    rows = {a["data-node"] for name, a in parsed.elements if name == "tr" and "data-node" in a}
    assert len([r for r in rows if r and r.startswith("a")]) == 140, "the table has them all"
    assert all(m in shown_of(ring).members for m in ring.members if m.fraud), "confirmed fraud is always drawn"


def test_every_drawn_node_has_a_card_and_a_label_and_marks_by_shape() -> None:
    parsed = Parsed(page_of(takeover()))
    cards = {a["data-card"] for _, a in parsed.elements if "data-card" in a}
    drawn = [a for _, a in parsed.elements if a.get("role") == "button"]
    assert {a["data-node"] for a in drawn} == cards
    assert "account u-62018, young, left its usual" in [a["aria-label"] for a in drawn]
    assert sum(a.get("class") == "cross" for _, a in parsed.elements) >= 6, "fraud is crossed, not only red"


def test_page_of_nothing_much_is_still_a_page() -> None:
    ring = msgspec.structs.replace(takeover(), parts=(), shared=(), links=(), members=takeover().members[:2])
    assert "No alert names this ring" in Parsed(ring_page(ring)).text
    assert ring_page(ring) == ring_page(ring)


def history_of(ring: Ring, entries: int) -> list[RingEntry]:
    users = [m.user for m in ring.members] or [HOSTILE]
    return [
        RingEntry(
            "acme", ring.summary.ring_id, n, START_US + n * HOUR_US, "grew" if n > 1 else "born", HOSTILE if n % 3 else "", n + 1,
            joined=(users[n % len(users)],),
        )
        for n in range(1, entries + 1)
    ]  # fmt: skip


def test_page_tells_the_last_of_what_happened_and_how_much_is_not_told() -> None:
    ring = hostile()
    entries = history_of(ring, 130)
    told = latest(lambda after: entries[after : after + 40], MOST_SHOWN)
    assert [e.number for e in told] == list(range(31, 131))
    parsed = Parsed(ring_page(ring, history=told))
    assert "30 earlier entries" in parsed.text
    assert visible(sentence(entries[-1])) in parsed.text
    assert sentence(entries[29]) not in parsed.text
    assert "\u202e" not in parsed.text
    assert HOSTILE in [a["data-copy"] for _, a in parsed.elements if "data-copy" in a]
    assert "Born with" in Parsed(ring_page(ring, history=entries[:5])).text
    assert "No history was kept" in Parsed(ring_page(ring)).text


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_tells_the_last_of_what_happened(width: int) -> None:
    ring, console = hostile(), Console(width=width, file=io.StringIO(), color_system=None, highlight=False)
    print_ring(console, ring, [], {}, EUR, history_of(ring, 20))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "8 earlier entries: `--html` has the last 100" in text
    assert "21 accounts in it then" in " ".join(text.split())
    assert ("by event" in text.partition("History")[2]) == (width == 140)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert not {"\x1b", "\u202e"} & set(text)


# -- words


def test_short_names_stay_apart() -> None:
    tokens = [f"token-{n:04}-{'0' * 30}-tail" for n in range(50)] + ["short"]
    names = short_names(tokens, 12)
    assert len(set(names.values())) == 51
    assert names["short"] == "short"
    assert max(map(len, names.values())) < 20


def test_counts_and_durations_read_well() -> None:
    assert [count(1, "address"), count(2, "address"), count(3, "shared entity"), count(0, "day")] == [
        "1 address", "2 addresses", "3 shared entities", "0 days"]  # fmt: skip
    assert [lasting(u) for u in (5, 7 * MINUTE_US, 3 * HOUR_US + 12 * MINUTE_US, 2 * DAY_US + HOUR_US, 40 * DAY_US)] == [
        "under a minute", "7 min", "3 h 12 min", "2 days 1 h", "40 days"]  # fmt: skip
    assert story(chain()).endswith("All 8 were under a day old.")
    assert Money("JPY", 0).text(1234567) == "1,234,567 JPY"


# -- the terminal


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("story_of", STORIES)
def test_terminal_drawing_fits_its_width_and_steers_no_terminal(story_of, width: int) -> None:
    ring = story_of()
    alerts, reasons = alerts_of(ring)
    console = Console(width=width, file=io.StringIO(), color_system=None, highlight=False)
    print_ring(console, ring, alerts, reasons, EUR)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert "\u202e" not in text
    for said in ("Why", "Shared entities", "Who shares what", "Alerts", f"{ring.summary.risk:.2f}"):
        assert said in text


def test_terminal_says_by_shape_what_colours_say() -> None:
    console = Console(width=140, file=io.StringIO(), color_system=None, highlight=False)
    print_ring(console, takeover(), [], {}, EUR)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"u-48213 +× → +10:12 +10:12 4× +· +13:12 1×", text)
    assert re.search(r"u-62018 +△→", text)
    assert "−0.07" in text
    assert "▒" in text


def test_list_tells_how_many_there_are() -> None:
    console = Console(width=120, file=io.StringIO(), color_system=None, highlight=False)
    print_rings(console, [takeover().summary], 12, EUR)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(
        r"rg5e1c07ba94 +0\.93 +7 +3 +account takeover +3,084\.60 EUR +2026-03-02 10:12 +2026-03-02 17:00", text
    )
    assert "12 rings, the 1 riskiest listed" in text


# -- exports


@pytest.mark.parametrize("story_of", STORIES)
def test_graphml_and_node_link_come_back_through_networkx(story_of) -> None:
    ring = story_of()
    told = graph_of([ring])
    linked = nx.node_link_graph(json.loads(encode([ring], "json")), edges="links")
    assert dict(linked.nodes(data=True)) == dict(told.nodes(data=True))
    assert {frozenset(e): d for *e, d in linked.edges(data=True)} == {
        frozenset(e): d for *e, d in told.edges(data=True)
    }
    read_back = nx.read_graphml(io.BytesIO(encode([ring], "graphml")))
    assert (len(read_back), read_back.size()) == (len(told), told.size())
    if ring.members[0].user != HOSTILE:
        assert dict(read_back.nodes(data=True)) == dict(told.nodes(data=True))
        assert read_back.graph["risk"] == ring.summary.risk
        assert {type(v) for _, _, d in read_back.edges(data=True) for v in d.values()} <= {int, str}


def test_control_characters_are_written_out_in_graphml() -> None:
    graph = nx.read_graphml(io.BytesIO(encode([hostile()], "graphml")))
    assert f"user:{HOSTILE}".replace("\x1b", "\\x1b") in graph


def test_several_rings_in_a_graph_keep_their_nodes_apart() -> None:
    graph = graph_of([takeover(), chain()])
    assert len(graph) == 7 + 3 + 8 + 7
    assert nx.number_connected_components(graph) == 2
    assert {d["ring"] for _, d in graph.nodes(data=True)} == {"rg5e1c07ba94", "rgc4a1100e7d"}


def test_json_lines_hold_id_risk_parts_members_shared_and_links() -> None:
    rows = [json.loads(line) for line in encode([takeover(), family()], "jsonl").splitlines()]
    assert [r["id"] for r in rows] == ["rg5e1c07ba94", "rg02fa61d3c8"]
    assert (len(rows[0]["members"]), len(rows[0]["shared"]), len(rows[0]["links"])) == (7, 3, 13)
    assert sum(p["value"] for p in rows[0]["parts"]) == pytest.approx(rows[0]["risk"])


def test_format_is_the_files_ending_unless_named() -> None:
    assert [format_of(Path(p)) for p in ("a.jsonl", "a.GRAPHML", "a.json")] == ["jsonl", "graphml", "json"]
    assert format_of(Path("a.txt"), "jsonl") == "jsonl"
    with pytest.raises(BadInput, match=r"ending of a\.gexf names no format"):
        format_of(Path("a.gexf"))


def test_page_names_the_busted_ring_that_had_a_thing_before() -> None:
    ring = takeover()
    told = msgspec.structs.replace(ring.shared[0], busted_ring="0123456789abcdef")
    parsed = Parsed(ring_page(msgspec.structs.replace(ring, shared=(told, *ring.shared[1:]))))
    assert "had by busted ring 0123456789abcdef" in parsed.text
    assert "had by busted ring" not in Parsed(ring_page(ring)).text
