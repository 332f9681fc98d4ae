"""Cypher lives in `cypher/`, one statement a file, and its header tells the truth."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.graphs import Cypher, batch, link, open_neo4j, ref

from cypher.load import load
from graph.neo4j_names import typed
from ringwatch.errors import NotFound
from ringwatch.model import BUILTIN_KINDS
from tests.support.backends import Neo4jBackend

ROOT = Path(__file__).parents[2]
FILES = sorted(f for engine in ("ladybug", "neo4j") for f in (ROOT / "cypher" / engine).glob("*.cypher"))
ON_NEO4J = [f for f in FILES if f.parent.name == "neo4j" and not f.stem.startswith("schema_")]
PRODUCT = (
    "ringwatch", "ingest", "graph", "features", "gnn", "scorers", "ledger", "evaluate", "api", "cypher", "rings", "bus",
    "roles", "servers",
)  # fmt: skip
SCANS = {
    "AllNodesScan", "CartesianProduct", "DirectedAllRelationshipsScan", "UndirectedAllRelationshipsScan",
    "DirectedRelationshipTypeScan", "UndirectedRelationshipTypeScan", "NodeByLabelScan",
}  # fmt: skip
"""Operators whose cost grows with the graph."""
READ_ALL_OF_A_LABEL = {"read_kind_counts": {"NodeByLabelScan"}, "read_migrations": {"NodeByLabelScan"}}
"""Statements that count everything, or read a handful of nodes of ours."""
RETURNING = ("read_", "claim_")
CYPHER_TEXT = re.compile(
    r"\b(MATCH|MERGE)\s*\(|\bUNWIND\s+\$|\bLOAD FROM\b|\bCREATE\s+(NODE|REL)\s+TABLE\b|\)\s*<?-\[.*\]->?\s*\("
)

each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")


def parts(file: Path) -> tuple[str, str, str]:
    """Params line, returns line, statement."""
    params, returns, *body = file.read_text("utf-8").splitlines()
    return params, returns, "\n".join(body)


@each_file
def test_a_file_opens_with_params_and_returns(file: Path) -> None:
    params, returns, body = parts(file)
    assert params.startswith("// params: ")
    assert returns.startswith("// returns: ")
    assert body.strip()
    assert "//" not in body


@each_file
def test_the_header_names_the_parameters_the_statement_uses(file: Path) -> None:
    params, _, body = parts(file)
    named = re.sub(r"\([^)]*\)", "", params.removeprefix("// params: "))
    declared = {name.strip() for name in named.split(",")} - {"none"}
    assert declared == set(re.findall(r"\$(\w+)", body))


@each_file
def test_the_columns_of_a_table_parameter_are_the_ones_used(file: Path) -> None:
    params, _, body = parts(file)
    for columns in re.findall(r"rows\(([^)]*)\)", params):
        for column in columns.split(","):
            assert re.search(rf"\b{column.strip()}\b", body.replace(f"{column.strip()}:", "")), column


@each_file
def test_a_file_holds_one_statement(file: Path) -> None:
    assert ";" not in parts(file)[2]


@each_file
def test_what_is_returned_is_in_the_header(file: Path) -> None:
    _, returns, body = parts(file)
    if not file.stem.startswith(RETURNING):
        assert returns == "// returns: nothing"
        return
    columns = re.sub(r"\([^)]*\)", "", returns.removeprefix("// returns: ")).split(",")
    final = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", body.rsplit("RETURN", 1)[1]))
    final = re.split(r"ORDER BY|LIMIT", re.sub(r"\([^()]*\)", "", final))[0]
    assert [c.strip() for c in columns] == [c.split(" AS ")[-1].strip() for c in final.split(",")]


@each_file
def test_every_read_has_a_limit(file: Path) -> None:
    if file.stem.startswith("read_"):
        assert re.search(r"\bLIMIT (\$\w+|\d+)\s*$", parts(file)[2].strip())


@pytest.fixture(scope="module", params=["empty", "filled"])
def prepared(request: pytest.FixtureRequest, neo4j_server: Neo4jBackend) -> Iterator[Cypher]:
    """On an empty database scans look cheap to Neo4j, and a plan made then is kept while the graph grows."""
    with neo4j_server.emptied(), closing(Cypher(neo4j_server)) as cypher, closing(open_neo4j(neo4j_server)) as graph:
        cypher.empty()
        graph.prepare(BUILTIN_KINDS)
        if request.param == "filled":
            users = [ref("user", i) for i in range(300)]
            graph.apply(
                batch(1, *(link(user, ref(kind, i % 50)) for i, user in enumerate(users) for kind in ("device", "ip")))
            )
        cypher.rows("CALL db.clearQueryCaches()")
        yield cypher


@pytest.mark.backends
@pytest.mark.parametrize("file", ON_NEO4J, ids=lambda f: f.stem)
def test_neo4j_runs_a_statement_without_looking_at_everything(file: Path, prepared: Cypher) -> None:
    kind, operators = prepared.plan(typed(parts(file)[2], "device"))
    assert kind in (
        {"r", "s"} if file.stem.startswith("read_") else {"rw"} if file.stem.startswith("claim_") else {"w"}
    )
    assert set(operators) & SCANS <= READ_ALL_OF_A_LABEL.get(file.stem, set())


def test_no_cypher_text_in_python() -> None:
    found = []
    for file in (f for folder in PRODUCT for f in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{file.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
            and CYPHER_TEXT.search(node.value)
        ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("engine", ["ladybug", "neo4j"])
def test_the_loader_gives_statements_without_their_header(engine: str) -> None:
    texts = load(engine)
    assert set(texts) == {f.stem for f in FILES if f.parent.name == engine}
    assert not any("//" in text for text in texts.values())


def test_an_unknown_engine_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"no Cypher for engine 'tiger' \(add a folder"):
        load("tiger")
