"""Documents that are generated from code, or name things of it, say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    from ringwatch.cli import app

    known = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    known |= {group.name for group in app.registered_groups}
    for command in re.findall(r"(?:^|[`$ ])ringwatch ([a-z]+)", page.read_text(), re.MULTILINE):
        if command not in ("is", "on", "as", "and", "or", "has", "to"):
            assert command in known, f"{page.name} names `ringwatch {command}`"
