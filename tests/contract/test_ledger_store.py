"""What every ledger promises, on SQLite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.streams import stream

from features.codec import FeatureCodec
from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.redelivery import CONFLICT, NEW, SAME, SeenEvents, body_hash
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress
from ringwatch.errors import Corrupt, RingwatchError
from ringwatch.model import HOUR_US, Alert, Event, Label
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
EAGER = Policy(TenantPolicy(levels={"MEDIUM": 0.05, "HIGH": 0.2, "CRITICAL": 0.6}))


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=5000), Assessor(build_scorers(), EAGER, SCHEMA))
    return scoring.feed(list(enumerate(stream(11, 900))))


@pytest.fixture
def ledger(tmp_path: Path):
    store = SqlLedger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", SCHEMA)
    store.prepare()
    yield store
    store.close()


def test_an_empty_ledger_knows_nothing(ledger: SqlLedger) -> None:
    assert ledger.last_seq() == -1
    assert ledger.watermark_us() is None
    assert ledger.progress("x") is None
    assert ledger.alerts() == []
    assert ledger.counts()["assessments"] == 0
    ledger.prepare()


def test_what_is_written_comes_back_exactly(ledger: SqlLedger, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(decisions, watermark_us=5))
    ids = [e.event_id for e in decisions.events[:700]]
    stored = ledger.assessments("default", ids)
    assert set(stored) == set(ids)
    for row in range(0, 700, 13):
        found = stored[ids[row]]
        assert found.event == decisions.events[row]
        assert found.assessment.score == decisions.score[row]
        assert found.assessment.reasons == decisions.reasons[row]
        assert found.assessment.scores == decisions.assessment(row).scores
        assert found.body_hash == body_hash(decisions.events[row])
        known = {n: float(v) for n, v in zip(SCHEMA.names, decisions.features[row], strict=True) if v == v}
        assert found.features == known
    assert ledger.events_entities("default", ids[:3])[ids[0]] == decisions.events[0].entities
    assert ledger.events_entities("other", ids[:3]) == {}
    assert ledger.watermark_us() == 5
    assert sum(len(part) for part in ledger.iterate(chunk=100)) == len(decisions)


def test_a_write_is_all_or_nothing(ledger: SqlLedger, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(decisions.select(0, 10)))
    before = ledger.logical_digest()
    with pytest.raises(RingwatchError):
        ledger.write(LedgerWrite(decisions.select(5, 20), progress=Progress("s", "s", 20, 20), watermark_us=9))
    assert ledger.logical_digest() == before
    assert ledger.progress("s") is None


def test_an_event_id_at_another_time_is_refused(ledger: SqlLedger, decisions: Decisions) -> None:
    import msgspec

    ledger.write(LedgerWrite(decisions.select(0, 1)))
    again = decisions.select(1, 2)
    moved = msgspec.structs.replace(again.events[0], event_id=decisions.events[0].event_id)
    from dataclasses import replace

    with pytest.raises(Corrupt):
        ledger.write(LedgerWrite(replace(again, events=[moved])))


def test_replay_gives_events_and_labels_in_running_order(ledger: SqlLedger, decisions: Decisions) -> None:
    labels = [(10_000, Label("event", "a", "fraud", 77)), (10_002, Label("user", "u", "good", 50))]
    ledger.write(LedgerWrite(decisions, labels=labels))
    items = [pair for part in ledger.replay(after_seq=-1, chunk=300) for pair in part]
    assert [seq for seq, _ in items] == sorted([*decisions.seq.tolist(), 10_000, 10_002])
    assert [seq for part in ledger.replay(after_seq=9_999) for seq, _ in part] == [10_000, 10_002]
    assert ledger.pending_labels(60, 20_000) == [labels[1], labels[0]], (
        "a label after the last event waits for the next"
    )
    assert ledger.pending_labels(0, 20_000) == [labels[1], labels[0]]
    assert ledger.pending_labels(0, 10_000) == [labels[0]]
    assert ledger.last_seq() == 10_002


def test_progress_and_refusals_are_remembered(ledger: SqlLedger) -> None:
    ledger.write(LedgerWrite(None, progress=Progress("s", "file", 10, 9)))
    ledger.write(LedgerWrite(None, progress=Progress("s", "file", 30, 29, finished=True)))
    assert ledger.progress("s") == Progress("s", "file", 30, 29, finished=True)
    assert ledger.last_seq() == 29


def test_alerts_are_listed_newest_first_with_filters_and_pages(ledger: SqlLedger) -> None:
    def alert(i: int, level: str) -> Alert:
        return Alert(f"a{i:02d}", "t", "user", "u", "r", i, i, 1, 0.5, level, "now", "why")

    alerts = [alert(i, "HIGH" if i % 2 else "MEDIUM") for i in range(20)]
    ledger.write(LedgerWrite(None, alerts=alerts, alert_events=[("a01", "e1"), ("a01", "e2"), ("a01", "e1")]))
    ledger.write(LedgerWrite(None, alerts=[alerts[3].__class__(**{**_fields(alerts[3]), "events": 9})]))
    first = ledger.alerts(limit=6)
    second = ledger.alerts(limit=20, after=first[-1].alert_id)
    assert [a.last_at_us for a in (*first, *second)] == list(range(19, -1, -1))
    assert {a.level for a in ledger.alerts(level="HIGH")} == {"HIGH"}
    assert [a.alert_id for a in ledger.alerts(since_us=18)] == ["a19", "a18"]
    assert ledger.alerts(tenant="other") == []
    assert len(ledger.open_alerts(active_since_us=10)) == 10
    assert sorted(ledger.alert_events("a01")) == ["e1", "e2"]
    assert ledger.counts()["alerts.HIGH"] == 10
    assert next(a for a in ledger.alerts() if a.alert_id == "a03").events == 9


def _fields(alert: Alert) -> dict[str, object]:
    return {name: getattr(alert, name) for name in alert.__struct_fields__}


def test_digest_tells_ledgers_apart_but_not_by_timing(tmp_path: Path, decisions: Decisions) -> None:
    from dataclasses import replace

    digests = []
    for i, d in enumerate((decisions, replace(decisions, timing_us={"state": 1e9}), decisions.select(0, 899))):
        store = SqlLedger(f"sqlite:///{tmp_path / f'{i}.sqlite'}", SCHEMA)
        store.prepare()
        store.write(LedgerWrite(d))
        digests.append(store.logical_digest())
        store.close()
    assert digests[0] == digests[1] != digests[2]


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"nothing like a database, but long enough to look at" * 50)
    with pytest.raises(Corrupt, match="ledger cannot"):
        SqlLedger(f"sqlite:///{path}", SCHEMA).prepare()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_packed_features_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [k.name for k in SCHEMA.kinds if rng.random() < 0.4]
    event = Event("e", "payment", 1, dict.fromkeys(kinds, "x"))
    features = np.full((1, SCHEMA.size), np.nan, np.float32)
    for kind in kinds:
        k = SCHEMA.kind_index[kind]
        features[0, k * SCHEMA.slot_size : (k + 1) * SCHEMA.slot_size] = rng.normal(size=SCHEMA.slot_size)
    if "user" in kinds:
        features[0, SCHEMA.user_offset : SCHEMA.event_offset] = rng.normal(
            size=SCHEMA.event_offset - SCHEMA.user_offset
        )
    features[0, SCHEMA.event_offset :] = rng.normal(size=SCHEMA.size - SCHEMA.event_offset)
    codec = FeatureCodec(SCHEMA)
    (blob,) = codec.pack([event], features)
    assert np.array_equal(codec.unpack(blob).view(np.uint32), features[0].view(np.uint32))


@pytest.mark.parametrize("cut", [1, 7, 250])
def test_alerts_do_not_depend_on_batches(decisions: Decisions, cut: int) -> None:
    def final(size: int) -> tuple[dict[str, Alert], list[tuple[str, str]]]:
        grouper, alerts, pairs = AlertGrouper(6 * HOUR_US), {}, []
        for i in range(0, len(decisions), size):
            changed, added = grouper.add(decisions.select(i, min(i + size, len(decisions))))
            alerts |= {a.alert_id: a for a in changed}
            pairs += added
        return alerts, pairs

    assert final(cut) == final(len(decisions))
    assert final(cut)[0]


def test_restored_grouper_continues(decisions: Decisions) -> None:
    window = 6 * HOUR_US
    whole, first, second = AlertGrouper(window), AlertGrouper(window), AlertGrouper(window)
    alerts = {a.alert_id: a for a in whole.add(decisions)[0]}
    half = {a.alert_id: a for a in first.add(decisions.select(0, 500))[0]}
    now = max(e.at_us for e in decisions.events[:500])
    second.restore([a for a in half.values() if a.last_at_us >= now - second.memory_us], now)
    half |= {a.alert_id: a for a in second.add(decisions.select(500, len(decisions)))[0]}
    assert half == alerts


def test_one_event_adds_to_one_alert(decisions: Decisions) -> None:
    _, pairs = AlertGrouper(HOUR_US).add(decisions)
    assert len({event for _, event in pairs}) == len(pairs)


def test_redelivery_and_conflict_are_told_apart_within_bounds() -> None:
    seen = SeenEvents(10)
    events = [Event(f"e{i}", "login", i, {"user": "u"}) for i in range(30)]
    assert seen.check(events[0]) == NEW
    assert seen.check(events[0]) == SAME
    assert seen.check(Event("e0", "login", 0, {"user": "other"})) == CONFLICT
    assert seen.check(Event("e0", "login", 0, {"user": "u"}, tenant="b")) == NEW
    for e in events:
        seen.check(e)
    assert seen.check(events[-1]) == SAME
    assert seen.check(events[0]) == NEW


def test_labels_wait_until_they_are_known() -> None:
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=1000), Assessor(build_scorers(), Policy(), SCHEMA))
    event = lambda i, at: Event(f"e{i}", "payment", at, {"user": "u"})  # noqa: E731
    at = 1_700_000_000_000_000
    label = ResolvedLabel(Label("event", "e0", "fraud", at + 100), {"user": "u"})
    d = scoring.feed(
        [(0, event(0, at)), (1, label), (2, event(1, at + 99)), (3, event(2, at + 100)), (4, event(3, at))]
    )
    known = d.features[:, SCHEMA.column("user.fraud_labels")].tolist()
    assert known == [0, 0, 1, 1]
