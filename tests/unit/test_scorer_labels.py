"""Labels of events nobody knows: each is waited for so long, and holds up what comes after it no longer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from bus.clients import BusSettings
from bus.topics import Topics
from ringwatch.errors import Unavailable
from ringwatch.model import BUILTIN_KINDS, Label
from ringwatch.settings import Settings
from ringwatch.wiring import open_decoder
from roles import scorer
from roles.scorer import LABELS, ScorerRole, Taking
from roles.taking import TopicIntake

RAW = b'{"type":"label","label_of":{"event":"%s"},"label":"fraud","known_at":"2026-01-01T00:00:00Z"}'


class Read(NamedTuple):
    """A message as it was read."""

    at: int
    raw: bytes

    def topic(self) -> str:
        return "l"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.raw


def known(labels: Sequence[Label]) -> list[Mapping[str, str] | None]:
    return [{"user": "u"} if label.target_id.startswith("known") else None for label in labels]


@pytest.fixture
def role() -> ScorerRole:
    decoder = open_decoder(Settings(tenant="acme"), BUILTIN_KINDS, "acme")
    intake = TopicIntake({"l": decoder}, Label, lambda: 1_767_300_000.0, labels="l")
    nothing: Any = None
    return ScorerRole(Taking(LABELS, ["l"], "0", 100, 0.0), nothing, BusSettings(("h:1",)), Topics(), intake, known)


def read(*ids: str) -> list[Any]:
    return [Read(at, RAW % id_.encode()) for at, id_ in enumerate(ids)]


def test_what_comes_before_a_label_that_waits_goes_on(role: ScorerRole) -> None:
    applied, origins, refused, whole = role._taken(read("known-1", "known-2", "gone", "known-3"))
    assert (len(applied), origins, refused, whole) == (2, [b"l/0/0", b"l/0/1"], [], 2)


def test_many_unknown_labels_wait_together(role: ScorerRole, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(scorer, "monotonic", lambda: now)
    messages = read(*(f"gone-{i}" for i in range(14)), "known-1")
    with pytest.raises(Unavailable, match="not in the ledger yet"):
        role._taken(messages)
    now = scorer.LABEL_WAIT_S + 1.0
    applied, _, refused, whole = role._taken(messages)
    assert (len(applied), len(refused), whole) == (1, 14, 15)
    assert {refusal.code for _, refusal in refused} == {"unknown_event"}
