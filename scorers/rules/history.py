"""Published versions of the rules, in the data folder's `rules/`: every one is kept, one is active.

`active.yaml` is the set in force, replaced in one move, so that a running service takes it over whole. `history.jsonl` says
when which version became active, by whom and why; `<version>.yaml` keeps each.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from features.schema import FeatureSchema
from ringwatch.errors import Conflict, Corrupt, NotFound, did_you_mean
from scorers.rules.fixtures import require_proof
from scorers.rules.load import parse_rules, rules_text
from scorers.rules.rule import RuleSet

ACTIVE = "active.yaml"


class Publication(msgspec.Struct, frozen=True):
    """One change of the active set."""

    version: str
    at: str
    """UTC, ISO 8601."""
    by: str
    note: str
    did: str
    """"publish" or "rollback"."""
    rules: int


class RuleHistory:
    """One folder. Several processes may use it; a change is made by one at a time."""

    def __init__(self, data_dir: Path, schema: FeatureSchema | None = None) -> None:
        self.folder = data_dir / "rules"
        self._schema = schema

    @property
    def active_path(self) -> Path:
        return self.folder / ACTIVE

    def all(self) -> list[Publication]:
        """Oldest first."""
        path = self.folder / "history.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().splitlines()
        try:
            return [msgspec.json.decode(line, type=Publication) for line in lines if line.strip()]
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path}: {error}", hint="take the broken line out; versions are files beside it") from None

    def publish(self, path: Path, *, by: str, note: str, at: str) -> Publication:
        """Validate a file, run its fixtures, keep a copy, make it active. Raises BadInput for a file that cannot be used,
        Conflict when its rules are the active ones."""
        text = rules_text(path)
        rules = require_proof(parse_rules(text, str(path), self._schema), str(path))
        with self._changing():
            if self.active() == rules.version:
                raise Conflict(
                    f"the rules of {path} are active already, version {rules.version}", hint="nothing was done"
                )
            _replace(self.folder / f"{rules.version}.yaml", text)
            return self._activate(rules, text, Publication(rules.version, at, by, note, "publish", len(rules.rules)))

    def rollback(self, version: str | None, *, by: str, note: str, at: str) -> Publication:
        """Make an earlier version active again: the one named (its beginning is enough), else the one before the active
        one. Raises NotFound."""
        with self._changing():
            wanted = self._named(version) if version else self._before()
            text, rules = self._stored(wanted)
            return self._activate(rules, text, Publication(wanted, at, by, note, "rollback", len(rules.rules)))

    def text(self, version: str | None = None) -> str:
        """The file of a version, or of the active one. Raises NotFound."""
        if version is not None:
            return self._stored(self._named(version))[0]
        if not self.active_path.exists():
            raise NotFound(f"no rules are published in {self.folder.parent}", hint="`ringwatch rules publish FILE`")
        return self.active_path.read_text("utf-8")

    def rules(self, version: str) -> RuleSet | None:
        """A version that was published here once; None for any other. Raises Corrupt for one that was changed by hand."""
        return self._stored(version)[1] if any(p.version == version for p in self.all()) else None

    def active(self) -> str | None:
        """The version in force; None where nothing was ever published."""
        published = self.all()
        return published[-1].version if published and self.active_path.exists() else None

    def _before(self) -> str:
        """The version that was active before the active one, rollbacks unwound."""
        stack: list[str] = []
        for p in self.all():
            if p.did == "rollback" and p.version in stack:
                del stack[stack.index(p.version) + 1 :]
            else:
                stack = [*(v for v in stack if v != p.version), p.version]
        if len(stack) < 2:
            raise NotFound("there is no earlier version to go back to", hint="`ringwatch rules history` lists them")
        return stack[-2]

    def _named(self, version: str) -> str:
        known = list(dict.fromkeys(p.version for p in self.all()))
        found = [v for v in known if v.startswith(version)] if version else []
        if len(found) != 1:
            hint = did_you_mean(version, known, "`ringwatch rules history` lists them")
            raise NotFound(f"{'no' if not found else 'more than one'} version begins with {version!r}", hint=hint)
        return found[0]

    def _stored(self, version: str) -> tuple[str, RuleSet]:
        path = self.folder / f"{version}.yaml"
        text = rules_text(path)
        rules = parse_rules(text, str(path), self._schema)
        if rules.version != version:
            raise Corrupt(
                f"{path} holds version {rules.version}", hint="it was changed by hand: publish it as a new one"
            )
        return text, rules

    def _activate(self, rules: RuleSet, text: str, publication: Publication) -> Publication:
        with (self.folder / "history.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(publication) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _replace(self.active_path, text)
        return publication

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _replace(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
