"""The Neo4j Browser kit: every query read-only, bounded and of use on a small simulated market."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.graphs import Cypher, open_neo4j
from support.market_graph import Market, fill

from graph.alert_query import alert_query, literal
from graph.neo4j_names import label_of, type_of
from ringwatch.model import BUILTIN_KINDS, Alert, Strength
from tests.support.backends import Neo4jBackend

KIT = Path(__file__).parents[2] / "cypher" / "browser"
FILES = sorted(KIT.glob("*.cypher"))
SCANS = re.compile("AllNodesScan|CartesianProduct|AllRelationshipsScan|RelationshipTypeScan")
READS_ALL_OF_A_LABEL = {"hubs"}
ODD = [
    "it's",
    'say "x"',
    "back\\slash",
    "\\u0022 RETURN 1 //",
    "\\\\u0027",
    "line\nbreak\ttab\r",
    "\0",
    "☃😀",
    "$tenant {x}",
    "*/ }",
]

each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)


def header(file: Path) -> dict[str, str]:
    lines = [line.removeprefix("// ") for line in file.read_text().splitlines() if line.startswith("//")]
    return {"title": lines[0]} | dict(line.split(": ", 1) for line in lines if re.match("params|returns", line))


def body(file: Path) -> str:
    return "\n".join(line for line in file.read_text().splitlines() if not line.startswith("//"))


@each_file
def test_a_query_has_a_short_title_and_names_what_it_takes(file: Path) -> None:
    assert len(header(file)["title"]) <= 34
    assert set(header(file)["params"].split(", ")) == set(re.findall(r"\$(\w+)", body(file)))
    assert re.search(r"\bLIMIT \d+\s*$", body(file))
    assert not re.search(r"\b(CREATE|MERGE|DELETE|SET|REMOVE|LOAD CSV)\b", body(file))


def test_titles_are_told_apart() -> None:
    assert len({header(file)["title"] for file in FILES}) == len(FILES)


def test_the_style_knows_every_label_and_the_links_of_rings() -> None:
    style = (KIT / "ringwatch.grass").read_text()
    named = set(re.findall(r"^(?:node|relationship)\.(\w+) \{", style, re.M))
    shown = {label_of(k.name) for k in BUILTIN_KINDS if k.strength is not Strength.NONE}
    assert named >= {*shown, "User", "Entity", "Ring", "Alert", "MEMBER_OF", "SHARES", "ABOUT", type_of("device")}
    assert style.count("{\n") == style.count("}\n")


def test_the_guide_begins_with_what_is_not_protected() -> None:
    slides = (KIT / "guide.html").read_text().split("<slide")[1:]
    assert "no roles" in slides[0]
    assert "everything of every tenant" in slides[0]
    guide = "".join(slides)
    assert {title for file in FILES if (title := header(file)["title"].split(":")[0]) not in guide} == set()


@pytest.mark.parametrize("text", ODD)
def test_a_literal_reads_back_as_json(text: str) -> None:
    assert json.loads(literal(text)) == text


@pytest.fixture(scope="module")
def market(neo4j_server: Neo4jBackend) -> Iterator[tuple[Cypher, Market]]:
    with neo4j_server.emptied(), closing(Cypher(neo4j_server)) as cypher, closing(open_neo4j(neo4j_server)) as graph:
        graph.prepare(BUILTIN_KINDS)
        yield cypher, fill(graph)


@pytest.fixture(scope="module")
def params(market: tuple[Cypher, Market]) -> Mapping[str, Any]:
    """Of the ring with most members."""
    _, made = market
    n = max(range(len(made.rings)), key=lambda n: made.rings[n].summary.users)
    members = [m.user for m in made.rings[n].members]
    return {
        "tenant": "default", "ring": made.rings[n].summary.ring_id, "alert": made.alerts[n].alert_id,
        "user": members[0], "other": members[1], "day": "2026-01-02",
    }  # fmt: skip


@pytest.mark.backends
@each_file
def test_a_query_answers_and_only_reads(file: Path, market: tuple[Cypher, Market], params: Mapping[str, Any]) -> None:
    cypher, _ = market
    kind, operators = cypher.plan(body(file), **params)
    assert kind == "r"
    assert not [name for name in operators if SCANS.search(name)]
    assert ("NodeByLabelScan" in operators) == (file.stem in READS_ALL_OF_A_LABEL)
    rows = cypher.rows(body(file), **params)
    assert rows
    assert ", ".join(rows[0]) == header(file)["returns"]


def answer(market: tuple[Cypher, Market], params: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return market[0].rows(body(KIT / f"{name}.cypher"), **params)


@pytest.mark.backends
def test_the_picture_of_a_ring_holds_its_members_and_things(
    market: tuple[Cypher, Market], params: Mapping[str, Any]
) -> None:
    (ring,) = [r for r in market[1].rings if r.summary.ring_id == params["ring"]]
    rows = answer(market, params, "ring")
    assert {row["u"]["id"] for row in rows} == {m.user for m in ring.members}
    things = {(row["thing"]["kind"], row["thing"]["id"]) for row in rows if row["thing"]}
    assert things == {(t.kind, t.entity) for t in ring.shared}


@pytest.mark.backends
def test_who_shares_is_who_is_linked_to_the_same(market: tuple[Cypher, Market], params: Mapping[str, Any]) -> None:
    mine = {(k, i) for e in market[1].events if e.user == params["user"] for k, i in e.entities.items()}
    rows = answer(market, params, "shared_with")
    assert rows == sorted(rows, key=lambda row: -row["strength"])
    for row in rows[:20]:
        theirs = {(k, i) for e in market[1].events if e.user == row["other"] for k, i in e.entities.items()}
        assert {tuple(thing.split(" ", 1)) for thing in row["shared"]} <= mine & theirs
    assert params["other"] in {row["other"] for row in rows}


@pytest.mark.backends
def test_a_path_leads_from_one_user_to_the_other(market: tuple[Cypher, Market], params: Mapping[str, Any]) -> None:
    for row in answer(market, params, "path"):
        ends = row["p"][0]["id"], row["p"][-1]["id"]
        assert ends == (params["user"], params["other"])


@pytest.mark.backends
def test_an_alert_s_ready_query_draws_it(market: tuple[Cypher, Market], params: Mapping[str, Any]) -> None:
    (alert,) = [a for a in market[1].alerts if a.alert_id == params["alert"]]
    rows = market[0].rows(alert_query(alert))
    users = {row["x"]["id"] for row in rows if row["x"].get("kind") == "user"}
    assert users == set(alert.accounts)
    assert rows == answer(market, params, "alert")


@pytest.mark.backends
@pytest.mark.parametrize("odd", ODD)
def test_a_ready_query_takes_any_name(odd: str, neo4j_server: Neo4jBackend, market: tuple[Cypher, Market]) -> None:
    alert = replace(market[1].alerts[0], tenant=odd, alert_id=odd, kind="user", entity=odd, accounts=(odd,), ring="")
    assert isinstance(alert, Alert)
    with closing(open_neo4j(neo4j_server)) as graph:
        graph.show_alerts([alert])
    (row,) = market[0].rows(alert_query(alert))
    assert (row["a"]["alert_id"], row["a"]["tenant"], row["x"]["id"]) == (odd, odd, odd)
