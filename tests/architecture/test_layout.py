"""What keeps the code readable and safe, checked by machine."""

from __future__ import annotations

import ast
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = (
    "ringwatch",
    "ingest",
    "features",
    "graph",
    "scorers",
    "ledger",
    "evaluate",
    "training",
    "cypher",
    "mappings",
    "rings",
    "api",
    "bus",
    "roles",
    "servers",
)
SOURCES = sorted(p for folder in PRODUCT for p in (ROOT / folder).rglob("*.py"))
EVERYTHING = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")})
LONGEST = 400

each_source = pytest.mark.parametrize("file", SOURCES, ids=lambda f: str(f.relative_to(ROOT)))


def called(tree: ast.AST) -> set[str]:
    """Names of the functions a file calls, as written."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imported(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_no_other_distribution_owns_our_names() -> None:
    owners = packages_distributions()
    assert {name: set(owners.get(name, ())) - {"ringwatch"} for name in PRODUCT} == {name: set() for name in PRODUCT}


def test_files_can_be_held_in_the_head() -> None:
    assert {str(f.relative_to(ROOT)): n for f in EVERYTHING if (n := len(f.read_text().splitlines())) > LONGEST} == {}


@each_source
def test_nothing_from_outside_is_unpickled_or_evaluated(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert not called(tree) & {"eval", "exec", "yaml.load", "yaml.unsafe_load"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            assert "allow_pickle=False" in ast.unparse(node)
    assert not imported(tree) & {"pickle", "marshal", "shelve", "dill", "joblib"}


@each_source
def test_the_environment_is_read_in_the_settings_only(file: Path) -> None:
    if file.name != "settings.py" or file.parent.name != "ringwatch":
        assert "os.environ" not in file.read_text()
    assert "getenv" not in file.read_text()


def test_mlflow_and_matplotlib_are_imported_in_one_file_each() -> None:
    found = {
        (name.partition(".")[0], str(file.relative_to(ROOT)))
        for file in SOURCES
        for name in imported(ast.parse(file.read_text()))
        if name.partition(".")[0] in ("mlflow", "matplotlib")
    }
    assert found == {("mlflow", "training/registry.py"), ("matplotlib", "evaluate/plots.py")}


@each_source
def test_every_file_says_what_it_is_for(file: Path) -> None:
    text = file.read_text()
    assert not text or ast.get_docstring(ast.parse(text))


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not raise in the end."""
    broad = handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")
    return broad and not isinstance(handler.body[-1], ast.Raise)


def test_only_the_top_catches_everything() -> None:
    found = {
        str(file.relative_to(ROOT))
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    }
    threads = {
        "api/engine.py",
        "graph/writer.py",
        "ingest/outlets.py",
        "ingest/snapshot.py",
        "ringwatch/begun.py",
        "roles/role.py",
        "roles/http_scoring.py",
        "ledger/sql_store.py",
        "scorers/learned/book.py",
        "scorers/learned/served_network.py",
    }
    assert found <= {"ringwatch/cli.py", "api/guard.py"} | threads


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-train.lock"])
def test_lock_files_are_hashed_and_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    pinned = re.findall(r"^([\w.-]+)==", text, re.M)
    assert len(pinned) > 20
    assert text.count("--hash=sha256:") >= len(pinned)


def test_every_setting_is_described() -> None:
    from ringwatch.settings import Settings

    assert all(field.description for field in Settings.model_fields.values())


def test_scorers_are_described_in_the_docs() -> None:
    from scorers.registry import build_scorers

    text = (ROOT / "docs" / "scorers.md").read_text()
    assert {s.name for s in build_scorers() if f"`{s.name}`" not in text} == set()
