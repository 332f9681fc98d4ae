"""Block, watch and allow lists: entries with owner, reason and expiry, in event time. From a file, and from what investigators decide.

block:
  - {kind: device, id: d-123, owner: anna, reason: "chargeback ring 4", expires: 2027-01-01}
watch:
  - {kind: card, id: c-7, owner: anna, reason: "asked the bank"}
allow:
  - {kind: user, id: u-9, owner: ben, reason: "tester"}
innocent:
  - {kind: address, id: a-17, owner: ops, reason: "student hall, Park Street"}
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ringwatch.config_file import config_text
from ringwatch.errors import BadInput, did_you_mean
from ringwatch.model import MICROSECONDS, Event

_FIELDS = {"kind", "id", "owner", "reason", "expires", "tenant"}
_NEEDED = ("kind", "id", "owner", "reason")
VERDICTS = {"block": 1.0, "watch": 0.5, "allow": 0.0}
"""What the scorer says of an event whose entity is on the list; of several lists the first one counts."""


INNOCENT = "innocent"


class Entry(msgspec.Struct, frozen=True):
    verdict: str
    """One of `VERDICTS`, or `INNOCENT`."""
    kind: str
    id: str
    owner: str
    reason: str
    expires_us: int | None = None
    tenant: str | None = None
    users: frozenset[str] = frozenset()
    """Of a place that is judged innocent, such as an ip: who used it lately."""

    def holds(self, event: Event) -> bool:
        right_tenant = self.tenant is None or self.tenant == event.tenant
        return right_tenant and (self.expires_us is None or event.at_us < self.expires_us)


class ListBook:
    """Entries by (kind, id)."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries = tuple(entries)
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault((entry.kind, entry.id), []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def check_kinds(self, kinds: Collection[str]) -> None:
        """Raises BadInput for an entry of a kind that no event can have."""
        for kind, id_ in self._entries:
            if kind not in kinds:
                message = f"lists: {kind!r} of the entry {id_!r} is no kind of entity"
                raise BadInput(message, hint=did_you_mean(kind, kinds))

    def match(self, event: Event) -> Entry | None:
        """The entry that decides for an event: a block before a watch before an allow."""
        hits = [entry for pair in event.entities.items() for entry in self._entries.get(pair, ()) if entry.holds(event)]
        return min(hits, key=lambda e: (-VERDICTS[e.verdict], e.kind, e.id, e.reason), default=None)


class Lists:
    """The book in force: the file's entries, and those of investigators, which change while events are scored.

    `put` may be called from any thread; what it is given counts from the next `refresh`, between two batches."""

    def __init__(self, fixed: ListBook | None = None) -> None:
        given = () if fixed is None else fixed.entries
        self._fixed = ListBook([e for e in given if e.verdict in VERDICTS])
        self.known_places = tuple(e for e in given if e.verdict == INNOCENT)
        """What the file says is shared innocently: halls, libraries, shops by name."""
        self.book = self._newest = self._fixed
        self.innocent = self.known_places
        """What is said to be shared innocently, by the file and by investigators: for the rings, no event is decided by it."""
        self.trouble = ""
        """Why the entries of investigators may be old; empty when all is well."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Investigators' entries, and those of `known_places` with who used them."""
        self._newest = ListBook((*self._fixed.entries, *(e for e in entries if e.verdict in VERDICTS)))
        self.innocent = tuple(e for e in entries if e.verdict == INNOCENT)

    def refresh(self) -> None:
        self.book = self._newest


def load_lists(path: Path | None) -> ListBook:
    if path is None:
        return ListBook()
    try:
        content = yaml.safe_load(config_text(path, "lists file", "RINGWATCH_LISTS")) or {}
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}", hint="mend the line it names") from None
    if not isinstance(content, dict) or set(content) - {*VERDICTS, INNOCENT}:
        raise BadInput(
            f"{path} has {sorted(content)}", hint="the top level has block:, watch:, allow: and innocent: only"
        )
    for verdict, raws in content.items():
        if not isinstance(raws, list | None):
            raise BadInput(f"{path}: {verdict} is {raws!r}", hint="a list of entries is needed")
    return ListBook([_entry(path, v, i, raw) for v, raws in content.items() for i, raw in enumerate(raws or [])])


def _entry(path: Path, verdict: str, number: int, raw: Any) -> Entry:
    where = f"{path}: {verdict} entry {number + 1}"
    if not isinstance(raw, dict):
        raise BadInput(f"{where} is {raw!r}", hint="write {kind, id, owner, reason, expires}")
    unknown, missing = set(raw) - _FIELDS, [f for f in _NEEDED if not raw.get(f)]
    if unknown or missing:
        hint = f"unknown: {sorted(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise BadInput(f"{where} cannot be used", hint=hint)
    expires = raw.get("expires")
    if isinstance(expires, date) and not isinstance(expires, datetime):
        expires = datetime(expires.year, expires.month, expires.day, tzinfo=UTC)
    if expires is not None and not isinstance(expires, datetime):
        raise BadInput(f"{where}: expires is {expires!r}", hint="write a date such as 2027-01-31")
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return Entry(
        verdict, str(raw["kind"]), str(raw["id"]), str(raw["owner"]), str(raw["reason"]),
        None if expires is None else int(expires.timestamp()) * MICROSECONDS, raw.get("tenant"),
    )  # fmt: skip
