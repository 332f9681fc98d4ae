"""`ringwatch audit`: what commands record, and what is found of changes."""

from __future__ import annotations

import json
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


def test_keys_are_made_and_revoked_on_record_without_what_opens_anything(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = ringwatch(
        "keys", "create", "--tenant", "acme", "--name", "anna", "--role", "investigator", "--data-dir", folder
    )
    ringwatch("keys", "revoke", "anna", "--data-dir", folder)
    key = made.out.strip()
    shown = ringwatch("audit", "show", "--tenant", "acme", "--json", "--data-dir", folder)
    done = shown.lines()[::-1]
    assert [(e["did"], e["kind"], e["target"]) for e in done] == [
        ("keys.create", "key", key.split("_")[1]), ("keys.revoke", "key", key.split("_")[1]),
    ]  # fmt: skip
    assert (done[0]["old"], done[0]["new"]["role"], done[0]["new"]["scopes"]) == (
        None,
        "investigator",
        ["read", "label", "act"],
    )
    assert (done[1]["old"]["revoked"], bool(done[1]["new"]["revoked"])) == (None, True)
    stored = (folder / "api-keys.json").read_text()
    assert key.split("_", 2)[2] not in shown.out
    assert not [entry for name in ("hash", "salt") for entry in _values(stored, name) if entry in shown.out]
    assert ringwatch("audit", "verify", "--data-dir", folder).code == 0


def test_a_key_is_revoked_even_where_that_cannot_be_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    ringwatch("keys", "create", "--name", "anna", "--data-dir", folder)
    (folder / "audit.key").write_text("spoiled")
    refused = ringwatch("keys", "create", "--name", "ben", "--data-dir", folder)
    assert (refused.code != 0, refused.out, "audit key is not hex" in refused.err) == (True, "", True)
    revoked = ringwatch("keys", "revoke", "anna", "--data-dir", folder)
    assert (revoked.code != 0, "audit key is not hex" in revoked.err) == (True, True)
    listed = ringwatch("keys", "list", "--json", "--data-dir", folder).json()
    assert [(k["name"], bool(k["revoked"])) for k in listed] == [("anna", True)]


def _values(stored: str, name: str) -> list[str]:
    return [entry[name] for entry in json.loads(stored)]
