"""The rules in force, and the file they come from: a changed file is taken over, a broken one is not."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from features.schema import FeatureSchema
from ringwatch.config_file import config_text
from ringwatch.errors import BadInput
from scorers.file_stamp import Stamp, stamp_of
from scorers.rules.evaluation import Evaluator
from scorers.rules.fixtures import require_proof
from scorers.rules.load import parse_rules
from scorers.rules.rule import EMPTY, RuleSet

_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Active:
    """A set with what is needed to run it: what one batch is scored with."""

    rules: RuleSet
    running: Evaluator
    """All but those that are off."""
    contributing: bool
    """Whether any rule has part in the score."""
    types: frozenset[str] | None
    """Event types that contributing rules look at; None: all."""

    @classmethod
    def of(cls, rules: RuleSet) -> Active:
        whens = [r.when for r in rules.rules if r.contributes]
        types = frozenset(name for when in whens for name in when) if all(whens) else None
        return cls(rules, Evaluator([r for r in rules.rules if r.mode != "off"]), bool(whens), types)


class RuleBook:
    """Rules that may change while they run. `active` is replaced whole; who holds one goes on with it.

    `reload_if_changed` is called between batches, by one thread. It looks at the file at most every `every_s` seconds;
    a changed one is read in the background and taken over at a later call. A file that is gone, broken or whose fixtures fail
    changes nothing but `trouble`; mended, it is taken over by itself.
    """

    def __init__(
        self, rules: RuleSet = EMPTY, *, path: Path | None = None, schema: FeatureSchema | None = None,
        every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic, in_background: bool = True,
    ) -> None:  # fmt: skip
        self.active = Active.of(rules)
        self.trouble = ""
        """What is wrong with the file as it is now; empty when the active set is the file's."""
        self.reloads = 0
        self._path, self._schema = path, schema
        self._every_s, self._clock, self._due = every_s, clock, clock() + every_s
        self._stamp: Stamp | None = None
        self._digest = b""
        self._in_background = in_background
        self._reading: _Reading | None = None

    @classmethod
    def open(
        cls, path: Path, *, schema: FeatureSchema | None = None, optional: bool = False, every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic, in_background: bool = True,
    ) -> RuleBook:  # fmt: skip
        """The book of a file. Raises BadInput when it cannot be used; `optional`: a file that is not there yet is no
        rules."""
        book = cls(path=path, schema=schema, every_s=every_s, clock=clock, in_background=in_background)
        if optional and not path.exists():
            return book
        book._stamp = book._look()
        reading = _Reading(path, schema, b"")
        reading.read()
        book._digest, book.active = reading.digest, reading.active or book.active
        return book

    @property
    def version(self) -> str:
        return self.active.rules.version

    def reload_if_changed(self) -> bool:
        """Whether another set is active now. Never raises for what is in the file, and never waits for it."""
        if self._path is None:
            return False
        if self._reading is None and self._clock() >= self._due:
            self._due = self._clock() + self._every_s
            self._begin()
        if self._reading is None or self._reading.is_alive():
            return False
        reading, self._reading = self._reading, None
        return self._take(reading)

    def _begin(self) -> None:
        assert self._path is not None
        stamp = self._look()
        if stamp is not None and stamp == self._stamp:
            return
        if stamp is None and not self._digest and not self._path.exists():
            return
        self._stamp = stamp
        self._reading = _Reading(self._path, self._schema, self._digest)
        if self._in_background:
            self._reading.start()
        else:
            self._reading.run()

    def _take(self, reading: _Reading) -> bool:
        self.trouble = reading.trouble and f"{reading.trouble}; the rules of version {self.version} stay in force"
        self._digest = reading.digest
        if reading.active is None or reading.active.rules.version == self.version:
            return False
        self.active = reading.active
        self.reloads += 1
        return True

    def _look(self) -> Stamp | None:
        return None if self._path is None else stamp_of(self._path)


class _Reading(threading.Thread):
    """Reads a rule file beside the scoring, which a long file would hold up."""

    def __init__(self, path: Path, schema: FeatureSchema | None, before: bytes) -> None:
        super().__init__(name="rules", daemon=True)
        self._source, self._schema, self._before = path, schema, before
        self.digest = b"unread"
        """Of the content read; of a broken one a value that no content has."""
        self.active: Active | None = None
        self.trouble = f"{path} could not be read"

    def run(self) -> None:
        try:
            self.read()
        except BadInput as error:
            self.trouble = error.message

    def read(self) -> None:
        """Raises BadInput. The content of before is not parsed again."""
        text = config_text(self._source, "rules file", "RINGWATCH_RULES")
        digest = hashlib.sha256(text.encode()).digest()
        if digest != self._before:
            rules = parse_rules(text, str(self._source), self._schema)
            self.active = Active.of(require_proof(rules, str(self._source)))
        self.digest, self.trouble = digest, ""
