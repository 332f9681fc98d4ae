"""Neo4j that speaks TLS only: an authority of one's own, and what people are told who do not get in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from neo4j import Driver, GraphDatabase
from support.certificates import Authority
from support.graphs import batch, link, ref
from support.secure import HOST, SecureNeo4j, secret_file, started

from graph.neo4j_connection import Limits
from graph.neo4j_store import Neo4jGraph
from ringwatch.access import open_neo4j
from ringwatch.errors import BadInput, RingwatchError, ServerDenied, Unavailable
from ringwatch.model import BUILTIN_KINDS
from ringwatch.settings import Settings
from servers.launcher import Servers

pytestmark = pytest.mark.backends
LIMITS = Limits(connect_s=30.0, retry_s=0.2)
LOCKED_S, TRIES = 60, 20


@dataclass(frozen=True)
class Secured:
    port: int
    folder: Path
    authority: Authority
    user: str
    password: str
    root: Driver

    def url(self, scheme: str, host: str = HOST) -> str:
        return f"{scheme}://{host}:{self.port}"

    def graph(self, scheme: str = "neo4j+s", host: str = HOST, **changes: Any) -> Neo4jGraph:
        """Tries once. Changes: `ca_file`, `database`, `user`, `password`."""
        auth = changes.pop("user", self.user), changes.pop("password", self.password)
        more = {"ca_file": self.authority.cert if scheme.endswith("+s") else None, **changes}
        return Neo4jGraph(self.url(scheme, host), auth=auth, limits=LIMITS, **more)

    def new_user(self, text: str = "CREATE USER $name SET PASSWORD $password CHANGE NOT REQUIRED") -> str:
        """With the same password."""
        name = f"user{token_hex(4)}"
        self.root.execute_query(text, name=name, password=self.password, database_="system")
        return name


@pytest.fixture(scope="module")
def secured(own_servers: Callable[..., Servers], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("neo4j")
    authority = Authority(folder)
    servers, ports = started(own_servers, SecureNeo4j(authority))
    user = servers.settings["RINGWATCH_NEO4J_USERNAME"]
    password = Path(servers.settings["RINGWATCH_NEO4J_PASSWORD_FILE"]).read_text().strip()
    with GraphDatabase.driver(f"bolt+ssc://{HOST}:{ports['bolt']}", auth=(user, password)) as root:
        yield Secured(ports["bolt"], folder, authority, user, password, root)


def why_not(graph: Neo4jGraph) -> RingwatchError | None:
    """Why the graph cannot be read; None when it can."""
    with closing(graph):
        try:
            graph.applied_position()
        except RingwatchError as error:
            return error
    return None


@pytest.mark.parametrize("scheme", ["neo4j+s", "bolt+s"])
def test_what_was_written_over_tls_is_read(secured: Secured, scheme: str) -> None:
    settings = Settings(
        graph_url=secured.url(scheme), neo4j_username=secured.user, neo4j_ca_file=secured.authority.cert,
        neo4j_password_file=secret_file(secured.folder, "password", secured.password), neo4j_database="neo4j",
    )  # fmt: skip
    opened = open_neo4j(settings)
    assert opened is not None
    user, device = ref("user", scheme), ref("device", f"d-{scheme}")
    with closing(opened) as graph:
        graph.prepare(BUILTIN_KINDS)
        position = graph.applied_position()
        assert graph.apply(batch(position + 1, link(user, device, 7, amount=3)))
        assert graph.applied_position() == position + 1
        (only,) = graph.neighbourhood(user, hops=1).links
        assert (only.other, only.amount_minor, only.first_seen_us) == (device, 3, 7)
        assert device in graph.cold([device], deadline_s=30)


@pytest.mark.parametrize("scheme", ["neo4j+ssc", "bolt+ssc"])
def test_a_certificate_is_not_checked_where_that_is_asked_for(secured: Secured, scheme: str) -> None:
    assert why_not(secured.graph(scheme)) is None
    assert why_not(secured.graph(scheme, "localhost")) is None


@pytest.mark.parametrize("scheme", ["neo4j+s", "bolt+s"])
def test_another_authority_and_another_name_are_refused(secured: Secured, scheme: str, tmp_path: Path) -> None:
    named = r"its certificate is not taken: .*RINGWATCH_NEO4J_CA_FILE"
    other = Authority(tmp_path).cert
    for ca_file in (other, None):
        with pytest.raises(Unavailable, match=named):
            raise why_not(secured.graph(scheme, ca_file=ca_file)) or AssertionError("it was taken")
    with pytest.raises(Unavailable, match=r"not valid for 'localhost'.*for the name in the address"):
        raise why_not(secured.graph(scheme, "localhost")) or AssertionError("it was taken")


@pytest.mark.parametrize("scheme", ["neo4j", "bolt"])
def test_nothing_goes_over_the_wire_in_the_clear(secured: Secured, scheme: str) -> None:
    with pytest.raises(Unavailable, match=r"does it ask for TLS there\? That is neo4j\+s"):
        raise why_not(secured.graph(scheme)) or AssertionError("it was let in")


@pytest.mark.parametrize("scheme", ["neo4j+s", "bolt+s"])
def test_a_wrong_password_is_told_and_never_shown(secured: Secured, scheme: str) -> None:
    wrong, user = f"wrong-{token_hex(8)}", secured.new_user()
    error = why_not(secured.graph(scheme, user=user, password=wrong))
    assert type(error) is ServerDenied
    assert "check RINGWATCH_NEO4J_USERNAME and RINGWATCH_NEO4J_PASSWORD_FILE" in str(error)
    assert wrong not in f"{error} {error!r} {error.context}"


def test_a_user_locked_out_by_wrong_passwords_gets_in_later(secured: Secured) -> None:
    user = secured.new_user()
    told: list[RingwatchError | None] = []
    while len(told) < TRIES and (not told or isinstance(told[-1], ServerDenied)):
        told.append(why_not(secured.graph("bolt+s", user=user, password="wrong-password")))
    assert {type(error) for error in told[:-1]} == {ServerDenied}
    assert "nobody gets in for some seconds" in str(told[-1])
    until = time.monotonic() + LOCKED_S
    while why_not(secured.graph("bolt+s", user=user)) is not None:
        assert time.monotonic() < until
        time.sleep(0.5)


def test_a_first_password_must_be_changed(secured: Secured) -> None:
    user = secured.new_user("CREATE USER $name SET PASSWORD $password CHANGE REQUIRED")
    error = why_not(secured.graph(user=user))
    assert type(error) is ServerDenied
    assert "first password must be changed" in str(error)


def test_a_database_that_is_not_there_is_named(secured: Secured) -> None:
    error = why_not(secured.graph(database="elsewhere"))
    assert type(error) is BadInput
    assert "'elsewhere'" in str(error)
    assert "RINGWATCH_NEO4J_DATABASE" in str(error)


def test_an_authority_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(BadInput, match=r"text\.pem cannot be used"):
        Neo4jGraph("neo4j+s://localhost:1", ca_file=text)
