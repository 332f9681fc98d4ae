"""Documents that are generated from code, or name things of it, say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup as Group

from ringwatch.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_feature_table_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "features.document"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert made == (ROOT / "docs" / "features.md").read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_documents_exist(page: Path) -> None:
    """With their options, as written in a block or in backticks."""
    for line in re.findall(
        r"(?:^ *(?:- )?|[`$(;] ?|exec api )ringwatch ([a-z][^`\n|;&<>#)]*)", page.read_text(), re.MULTILINE
    ):
        found = typer.main.get_command(app)
        words = line.split()
        while words and isinstance(found, Group) and words[0].strip(",:") in found.commands:
            found = found.commands[words.pop(0).strip(",:")]
        assert found.name != "ringwatch", f"{page.name} names `ringwatch {line}`"
        options = {name for p in found.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        named = {word.split("=")[0].rstrip(".,:") for word in words if word.startswith("-")}
        assert named <= options, f"{page.name} names `ringwatch {line}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_targets_and_programs_in_documents_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^    |^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for name in re.findall(r"(?:python|pytest) ([a-z_/]+(?:\.py)?)\b", text):
        assert not name.startswith(("bench/", "tests/")) or (ROOT / name).exists(), f"{page.name} names {name}"
    for name in re.findall(r"python -m ([a-z_.]+[a-z_])", text):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists(), f"{page.name} names {name}"
