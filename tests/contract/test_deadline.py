"""What runs when the time of an answer is over is ended, on every store; and what comes after has all the time again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Connection, text
from support.desks import clock
from support.graphs import open_ladybug, open_neo4j
from support.ledgers import fresh_database

from desk.chain import Key
from desk.store import Act, Desk
from features.schema import FeatureSchema
from graph.neo4j_connection import Limits, Neo4jConnection
from ledger.queries import LedgerQueries
from ringwatch import deadline
from ringwatch.errors import StoreAway, TooLong
from ringwatch.model import BUILTIN_KINDS
from tests.support.backends import Neo4jBackend

S = 0.3
FOREVER = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
    "postgresql": "SELECT count(*) FROM generate_series(1, 1000000000000) AS x",
    "graph": "UNWIND range(1, 1000000) AS x UNWIND range(1, 1000000) AS y WITH x, y WHERE x * y % 7 = 3 RETURN max(x + y) AS n",
}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'some.sqlite'}"
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as found:
        yield found


def test_a_statement_of_the_ledger_is_ended(url: str) -> None:
    with closing(LedgerQueries(url, FeatureSchema())) as ledger:
        ledger.prepare()
        for _ in range(3):
            with deadline.within(S), pytest.raises(TooLong, match=r"within 0\.3 s"), ledger._reading() as connection:
                connection.execute(text(FOREVER[connection.dialect.name])).all()
        for _ in range(3):
            assert ledger.counts()["assessments"] == 0
            with ledger._reading() as connection:
                assert connection.dialect.name == "sqlite" or connection.scalar(text("SHOW statement_timeout")) == "30s"


def test_a_statement_of_the_desk_is_ended_and_nothing_is_begun_too_late(url: str) -> None:
    with closing(Desk(url, Key(b"k" * 32), clock())) as desk:
        desk.prepare()
        with deadline.within(S), pytest.raises(TooLong), desk.reading() as connection:
            connection.execute(text(FOREVER[connection.dialect.name])).all()
        with deadline.within(0.0), pytest.raises(TooLong):
            desk.record(Act("t", "anna", "case.note", "case", "c"))
        assert desk.head("t").number == 0
        with deadline.within(60.0):
            desk.record(Act("t", "anna", "case.note", "case", "c"))
        assert desk.verify("t").troubles == ()


def test_a_read_of_the_embedded_graph_is_ended_and_a_busy_one_is_not_waited_for(tmp_path: Path) -> None:
    with closing(open_ladybug(tmp_path)) as graph:
        graph.prepare(BUILTIN_KINDS)
        graph._text = {**graph._text, "forever": FOREVER["graph"]}
        with deadline.within(S), pytest.raises(TooLong):
            graph._asking("forever", lambda _: graph._read("forever"))
        assert graph.counts()["entities"] == 0
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with graph._lock:
                held.set()
                done.wait(60)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)
        with deadline.within(S), pytest.raises(TooLong):
            graph._asking("any", lambda _: None)
        done.set()
        holder.join()
        with deadline.within(60.0):
            assert graph._asking("any", lambda _: 7) == 7


@pytest.mark.backends
def test_a_read_of_neo4j_is_ended(neo4j_server: Neo4jBackend) -> None:
    with neo4j_server.emptied(), closing(open_neo4j(neo4j_server)) as graph:
        connection: Any = graph._connection
        connection._texts = {**connection._texts, "forever": FOREVER["graph"]}
        with deadline.within(S), pytest.raises(TooLong):
            connection.rows("forever")


def test_without_a_time_nothing_is_cut_off() -> None:
    deadline.check()
    assert deadline.left_s(7.0) == 7.0
    with deadline.within(60.0):
        assert 0.0 < deadline.left_s(7.0) <= 7.0
        assert 7.0 < deadline.left_s(70.0) <= 60.0
        with deadline.within(0.0), pytest.raises(TooLong):
            deadline.left_s(7.0)
        assert deadline.is_set()
        assert not deadline.passed()
    assert not deadline.is_set()


def test_statements_that_are_short_one_by_one_share_the_time(url: str) -> None:
    short = {
        "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) SELECT max(x) FROM n",
        "postgresql": "SELECT pg_sleep(0.1)",
    }
    with closing(LedgerQueries(url, FeatureSchema())) as ledger:
        ledger.prepare()
        done: list[int] = []

        def ask(connection: Connection) -> None:
            for n in range(100):
                connection.execute(text(short[connection.dialect.name])).all()
                done.append(n)

        with deadline.within(S), pytest.raises(TooLong), ledger._reading() as connection:
            ask(connection)
        assert 0 < len(done) < 20


@pytest.mark.parametrize("listens", [False, True])
def test_a_neo4j_that_is_away_is_not_waited_for_longer(listens: bool) -> None:
    """Nobody at its address, or somebody who says nothing; without a time of its own a read is tried for 15 s and more."""
    with socket() as port:
        port.bind(("127.0.0.1", 0))
        if listens:
            port.listen()
        url = f"bolt://127.0.0.1:{port.getsockname()[1]}"
        with closing(Neo4jConnection(url, auth=None, database=None, ca_file=None, limits=Limits())) as connection:
            began = monotonic()
            with deadline.within(1.0), pytest.raises((TooLong, StoreAway)):
                connection.rows("read_kind_counts")
            assert monotonic() - began < 5.0
