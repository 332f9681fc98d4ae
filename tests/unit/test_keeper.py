"""What follows the decisions remembers the same as what made them, however they are cut, and after a snapshot."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from support.streams import stream

from bus.decisions import decision_messages
from bus.messages import DecisionMessage, LabelMessage, decode, decode_ring, encode, label_id
from bus.topics import Topics
from features.codec import FeatureCodec
from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.keeper import Keeper
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from rings.elsewhere import RingsElsewhere
from rings.entry import RingEntry
from rings.keeper import RingKeeper
from rings.published import Published, RingChange, decode_whole
from ringwatch.model import DAY_US, HOUR_US, Alert
from roles.outgoing import ring_messages
from scorers.assess import Assessor
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
EAGER = Policy(TenantPolicy(levels={"MEDIUM": 0.05, "HIGH": 0.2, "CRITICAL": 0.6}))
Message = DecisionMessage | LabelMessage


def grouper() -> AlertGrouper:
    return AlertGrouper(24 * HOUR_US, 30 * DAY_US)


def keeper(folder: Path) -> Keeper:
    folder.mkdir(exist_ok=True)
    return Keeper(Assessor(build_scorers(), EAGER, SCHEMA), RingKeeper(SCHEMA), grouper(), folder)


@pytest.fixture(scope="module")
def made() -> tuple[list[Message], ScoringStream, dict[str, Alert]]:
    """Messages of a stream with labels, the stream that made them, its alerts."""
    items = stream(17, 1200)
    scoring = ScoringStream(
        MemoryState(SCHEMA, max_entities=5000), Assessor(build_scorers(), EAGER, SCHEMA), RingKeeper(SCHEMA)
    )
    features = scoring.state.apply(items)
    decisions = scoring.assess(list(enumerate(items)), features)
    encoded = iter(
        decision_messages(decisions, ["t/0/0"] * len(decisions), range(len(decisions)), FeatureCodec(SCHEMA))
    )
    messages: list[Message] = []
    for item in items:
        if isinstance(item, ResolvedLabel):
            raw = encode(
                LabelMessage(
                    v=1, id=label_id(item.label), label=item.label, entities=item.entities, origin="", decided_us=1
                )
            )
            messages.append(decode(raw))
        else:
            messages.append(decode(next(encoded)))
    alerts, _ = grouper().add(decisions)
    return messages, scoring, {a.alert_id: a for a in alerts}


def followed(one: Keeper, messages: list[Message], seed: int) -> dict[str, Alert]:
    rng, at, alerts = random.Random(seed), 0, {}
    while at < len(messages):
        n = rng.choice([1, 3, 40, 300])
        alerts |= {a.alert_id: a for a in one.follow(messages[at : at + n]).alerts}
        at += n
    return alerts


@pytest.mark.parametrize("seed", [1, 2])
def test_it_remembers_what_the_scorer_does(
    made: tuple[list[Message], ScoringStream, dict[str, Alert]], tmp_path: Path, seed: int
) -> None:
    messages, scoring, alerts = made
    one = keeper(tmp_path / "k")
    assert followed(one, messages, seed) == alerts
    assert isinstance(scoring.rings, RingKeeper)
    assert one.rings.digest() == scoring.rings.digest()
    learned, expected = one.stream.assessor.dump(), scoring.assessor.dump()
    assert learned.keys() == expected.keys()
    assert all(np.array_equal(learned[name], expected[name], equal_nan=True) for name in learned)


def test_a_snapshot_goes_on_where_it_was(
    made: tuple[list[Message], ScoringStream, dict[str, Alert]], tmp_path: Path
) -> None:
    messages, scoring, alerts = made
    before = keeper(tmp_path / "k")
    first = followed(before, messages[:700], 3)
    before.positions = {0: 700}
    before.snapshot(wait=True)
    followed(before, messages[700:800], 4)
    after = keeper(tmp_path / "k")
    after.restore()
    assert after.positions == {0: 700}
    assert first | followed(after, messages[700:], 5) == alerts
    assert isinstance(scoring.rings, RingKeeper)
    assert after.rings.digest() == scoring.rings.digest()
    before.restore()
    assert before.seq == 699


def test_rings_that_another_told_are_told_again_or_that_they_ended(
    made: tuple[list[Message], ScoringStream, dict[str, Alert]], tmp_path: Path
) -> None:
    """A process that ended told rings that the one after it never saw."""
    messages, _, _ = made
    one = keeper(tmp_path / "k")
    followed(one, messages, 6)
    published = Published(one.rings)
    ring = published.changes(published.everything())[0]
    after = Published(one.rings, {"gone": (ring.tenant, ("u-1",)), ring.ring_id: (ring.tenant, (*ring.members, "u-2"))})
    told = {c.ring_id: c for c in after.changes(after.everything())}
    assert told["gone"].ring is None
    assert told["gone"].left == ("u-1",)
    assert told[ring.ring_id].ring == ring.ring
    assert told[ring.ring_id].left == ("u-2",)
    assert after.changes(after.everything()) == []
    after.forget()
    assert told.keys() - {"gone"} == {c.ring_id for c in after.changes(after.everything())}


def test_after_a_mark_all_rings_are_told_whoever_acts(
    made: tuple[list[Message], ScoringStream, dict[str, Alert]], tmp_path: Path
) -> None:
    messages, _, _ = made
    one = keeper(tmp_path / "k")
    followed(one, messages, 6)
    newest_us = max(m.event.at_us for m in messages if isinstance(m, DecisionMessage))
    assert one.stream.watermark_us == newest_us
    published = Published(one.rings)
    told = {c.ring_id for c in published.changes(published.everything())}
    assert told
    assert not published.marked
    assert published.changes(()) == []
    one.rings.advance(newest_us + one.rings.rules.mark_us)
    assert published.marked
    assert {c.ring_id for c in published.changes(())} == told


def test_rings_are_told_once_and_read_elsewhere(
    made: tuple[list[Message], ScoringStream, dict[str, Alert]], tmp_path: Path
) -> None:
    """What a scorer reads beside a user is what the keeper would tell it, but for its own links."""
    messages, _, _ = made
    one = keeper(tmp_path / "k")
    followed(one, messages, 6)
    published = Published(one.rings)
    changes = published.changes([r.ring_id for r in one.rings.rings()])
    assert changes
    assert published.changes([r.ring_id for r in one.rings.rings()]) == []
    rows = {(c.tenant, user): c.row for c in changes for user in c.members}
    elsewhere = RingsElsewhere(SCHEMA, lambda tenant, users: [rows.get((tenant, u)) for u in users])
    last = {m.event.user: m.event for m in messages if isinstance(m, DecisionMessage) and m.event.user}
    events = list(last.values())
    here, there = np.zeros((2, len(events), SCHEMA.size), np.float32)
    at = one.rings.look(events, here)
    found = elsewhere.look(events, there)
    assert [r and r.ring_id for r in at] == [r and r.ring_id for r in found]
    users = SCHEMA.index["ring.users"]
    assert np.array_equal(here[:, users], there[:, users], equal_nan=True)
    for _, _, raw in ring_messages(Topics("t"), changes, 5):
        told = decode_ring(raw)
        assert decode_whole(told.content).summary.ring_id == told.ring_id
        assert told.users == len(told.members) >= 2


def test_a_long_history_takes_several_messages() -> None:
    entries = tuple(RingEntry("t", "r", n, n, "dormant", "", 2) for n in range(1, 1200))
    told = [
        decode_ring(raw)
        for _, _, raw in ring_messages(Topics("t"), [RingChange("t", "r", None, (), b"", (), entries)], 5)
    ]
    assert [len(message.history) for message in told] == [500, 500, 199]
    assert tuple(entry for message in told for entry in message.history) == entries
