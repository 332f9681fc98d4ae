"""What the Neo4j adapter works out before it asks a server anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import entity, link, ref

from graph.neo4j_connection import Limits, Neo4jConnection
from graph.neo4j_names import label_of, type_of, typed
from graph.neo4j_reader import water_level
from graph.neo4j_rows import columns_of
from graph.store import GraphBatch
from ringwatch.errors import BadInput


@pytest.mark.parametrize(
    ("kind", "label", "type_"),
    [
        ("user", "User", "USED_USER"),
        ("bank_account", "BankAccount", "USED_BANK_ACCOUNT"),
        ("terminal", "Terminal", "USED_TERMINAL"),
        ("ip", "Ip", "FROM_IP"),
        ("merchant", "Merchant", "AT_MERCHANT"),
        ("ring", "RingKind", "USED_RING"),
        ("entity", "EntityKind", "USED_ENTITY"),
    ],
)
def test_a_kind_has_a_label_and_a_type(kind: str, label: str, type_: str) -> None:
    assert (label_of(kind), type_of(kind)) == (label, type_)


@pytest.mark.parametrize("kind", ["", "Device", "a-b", "a b", "a]->()//", "x" * 33, "`"])
def test_only_a_kind_s_name_gets_into_a_statement(kind: str) -> None:
    with pytest.raises(BadInput, match="cannot name a link"):
        typed("MERGE (a)-[l:LINKED]->(b)", kind)


def test_a_statement_is_made_for_a_kind() -> None:
    assert typed("(a)-[l:LINKED]->(b) LINKED_AT", "device") == "(a)-[l:USED_DEVICE]->(b) LINKED_AT"


@given(degrees=st.lists(st.integers(0, 50), max_size=8), total=st.integers(1, 100))
def test_a_step_s_links_are_shared_as_water_stands(degrees: list[int], total: int) -> None:
    level = water_level(degrees, total)
    taken = sum(min(degree, level) for degree in degrees)
    assert taken <= max(total, len(degrees))
    if sum(degrees) <= total:
        assert taken == sum(degrees)
    else:
        assert level == 1 or taken + len(degrees) > total


def test_a_batch_is_merged_and_sorted() -> None:
    u1, u2, d = ref("user", "u1"), ref("user", "u2"), ref("device", "d")
    updates = [entity(u2, 5, amount=7), entity(u1, 4), entity(u2, 3, last=9, amount=1, alerts=1)]
    links = [link(u2, d, 8, fails=1), link(u1, d, 2), link(u2, d, 1, amount=3)]
    columns = columns_of(GraphBatch(updates, links, 1))
    devices, users = columns.entities
    assert (devices["ids"], devices["first"], devices["last"], devices["events"]) == (["d"], [1], [8], [0])
    assert (users["ids"], users["prefix"], users["label"]) == (["u1", "u2"], "7:default4:user", "User")
    assert (users["first"], users["last"], users["events"]) == ([2, 1], [4, 9], [1, 2])
    assert (users["amount"], users["alerts"]) == ([0, 8], [0, 1])
    ((kind, between),) = columns.links
    assert (kind, between["users"], between["others"]) == ("device", ["u1", "u2"], ["d", "d"])
    assert (between["first"], between["events"], between["amount"], between["fails"]) == (
        [2, 1],
        [1, 2],
        [0, 3],
        [0, 1],
    )


def connect(url: str, ca_file: Path | None = None) -> None:
    Neo4jConnection(url, auth=None, database=None, ca_file=ca_file, limits=Limits()).close()


@pytest.mark.parametrize("url", ["neo4j:", "http://localhost:7474", "bolt://", "localhost:7687"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="graph address"):
        connect(url)


def test_a_certificate_authority_needs_a_checked_connection(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"not checked against one \(write neo4j\+s://"):
        connect("bolt://localhost:7687", tmp_path / "ca.pem")
    with pytest.raises(BadInput, match="is missing"):
        connect("bolt+s://localhost:7687", tmp_path / "ca.pem")
