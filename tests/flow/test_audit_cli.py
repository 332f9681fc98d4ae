"""`ringwatch audit`: what commands record, and what is found of changes."""

from __future__ import annotations

from pathlib import Path

from support import desks
from support.cli import ringwatch
from support.desks import clock

from desk.chain import Key
from desk.store import Desk

RULES = """rules:
  - id: one
    owner: anna
    mode: shadow
    if: event.amount_minor > 100
    reason: large
"""


def test_commands_tell_who_published_rules_and_find_what_was_changed(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "rules.yaml"
    none = ringwatch("audit", "verify", "--data-dir", folder)
    assert (none.code != 0, "has no audit trail" in none.err) == (True, True)
    file.write_text(RULES)
    ringwatch("rules", "publish", file, "--data-dir", folder, "--by", "anna", "--note", "first")
    file.write_text(RULES.replace("100", "200"))
    ringwatch("rules", "publish", file, "--data-dir", folder, "--by", "ben")
    ringwatch("rules", "rollback", "--data-dir", folder, "--by", "anna")
    done = ringwatch("audit", "show", "--json", "--data-dir", folder).lines()[::-1]
    assert [(e["who"], e["did"], e["why"]) for e in done] == [
        ("cli:anna", "rules.publish", "first"), ("cli:ben", "rules.publish", ""), ("cli:anna", "rules.rollback", ""),
    ]  # fmt: skip
    assert done[0]["old"] is None
    assert done[2]["new"]["version"] == done[0]["new"]["version"] == done[1]["old"]["version"]
    head = ringwatch("audit", "head", "--tenant", "default", "--data-dir", folder).out.split()[1]
    good = ringwatch("audit", "verify", "--tenant", "default", "--noted", head, "--data-dir", folder)
    assert f"3 entries, as they were written; head {head}" in good.out
    key = Key.of(folder / "audit.key")
    desk = Desk(f"sqlite:///{folder / 'desk.sqlite'}", key, clock())
    desks.sql(desk, "UPDATE audit SET who = 'cli:eve' WHERE number = 2")
    desk.close()
    bad = ringwatch("audit", "verify", "--data-dir", folder)
    assert bad.code != 0
    assert "entry 2 (rules.publish rules active) was changed" in bad.out
    assert "not as it was written" in bad.err


def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "rules.yaml"
    file.write_text(RULES)
    ringwatch("rules", "publish", file, "--data-dir", folder)
    active = (folder / "rules" / "active.yaml").read_text()
    (folder / "audit.key").write_text("spoiled")
    file.write_text(RULES.replace("100", "200"))
    refused = ringwatch("rules", "publish", file, "--data-dir", folder)
    assert refused.code != 0
    assert "audit key is not hex" in refused.err
    assert (folder / "rules" / "active.yaml").read_text() == active
