"""What every ledger promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.ledgers import fresh_database, scored

from features.schema import FeatureSchema
from ingest.redelivery import body_hash
from ledger.months import month_of, starts_us
from ledger.queries import AlertFilter, LedgerQueries
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress, Written
from ringwatch.errors import Corrupt, RingwatchError
from ringwatch.model import DAY_US, Alert, Label, Refusal, Versions
from scorers.decision import Decisions

SCHEMA = FeatureSchema()


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return scored(900)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as found:
        yield found


@pytest.fixture
def ledger(url: str) -> Iterator[LedgerQueries]:
    store = LedgerQueries(url, SCHEMA)
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
    hoods = [b"" if row % 3 else b"hood %d" % row for row in range(len(decisions))]
    ledger.write(LedgerWrite(replace(decisions, hoods=hoods), watermark_us=5))
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
    assert [stored[id_].links for id_ in ids] == list(decisions.links[:700])
    assert [stored[id_].hood for id_ in ids] == hoods[:700]
    assert 10 < sum(map(bool, decisions.links[:700])) < 700
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
    ledger.write(LedgerWrite(decisions.select(0, 1)))
    again = decisions.select(1, 2)
    moved = msgspec.structs.replace(again.events[0], event_id=decisions.events[0].event_id)
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


def renamed(decisions: Decisions, ids: list[str], *, seq: int, at_us: int | None = None) -> Decisions:
    """Decisions of events with these ids, numbered from `seq`."""
    some = decisions.select(0, len(ids))
    events = [
        msgspec.structs.replace(e, event_id=id_, at_us=e.at_us if at_us is None else at_us)
        for e, id_ in zip(some.events, ids, strict=True)
    ]
    return replace(some, events=events, seq=np.arange(seq, seq + len(ids)))


def test_what_is_delivered_again_is_left_as_it_was_first_written(ledger: SqlLedger, decisions: Decisions) -> None:
    labels = [(5_000, Label("user", "u", "good", 50))]
    first = LedgerWrite(decisions.select(0, 40), labels=labels, progress=Progress("kafka:d/0", "d", 40, 39))
    assert ledger.write(first, if_known="leave") == Written(added=40)
    before = ledger.logical_digest()
    assert ledger.write(first, if_known="leave") == Written(left=40)
    worse = replace(decisions, score=decisions.score / 2).select(0, 40)
    assert ledger.write(LedgerWrite(worse, labels=labels), if_known="leave") == Written(left=40)
    assert ledger.logical_digest() == before
    assert ledger.write(LedgerWrite(decisions.select(30, 60)), if_known="leave") == Written(added=20, left=10)
    assert ledger.counts()["assessments"] == 60


def test_the_same_event_under_another_number_is_left_and_told(ledger: SqlLedger, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(renamed(decisions, ["a", "b"], seq=10)), if_known="leave")
    again = LedgerWrite(renamed(decisions, ["a", "b"], seq=1 << 48))
    assert ledger.write(again, if_known="leave") == Written(left=2, again=2)
    assert [seq for part in ledger.iterate() for seq, _ in part] == [10, 11]
    within = renamed(decisions, ["c", "d"], seq=20)
    within = replace(within, events=[within.events[0], within.events[0]])
    assert ledger.write(LedgerWrite(within), if_known="leave") == Written(added=1, left=1, again=1)
    assert [seq for part in ledger.iterate(after_seq=11) for seq, _ in part] == [20]


def test_an_id_at_another_time_and_a_number_that_is_taken_are_told(ledger: SqlLedger, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(renamed(decisions, ["a", "b"], seq=10)), if_known="leave")
    before = ledger.logical_digest()
    moved = renamed(decisions, ["b"], seq=30, at_us=decisions.events[0].at_us + 77)
    assert ledger.write(LedgerWrite(moved), if_known="leave").refused == (("default", "b"),)
    taken = renamed(decisions, ["c"], seq=10)
    assert ledger.write(LedgerWrite(taken), if_known="leave") == Written(refused=(("default", "c"),))
    assert ledger.logical_digest() == before


def test_positions_never_go_back_and_what_lies_before_them_is_left_whole(
    ledger: SqlLedger, decisions: Decisions
) -> None:
    refused = Refusal("no", "d", 1, b"x")

    def write(start: int, stop: int, text: str) -> Written:
        alert = Alert("a", "t", "user", "u", "r", 1, 1, 1, 0.5, "HIGH", "now", text)
        progress = Progress("kafka:d/0", "d", stop, stop - 1)
        content = decisions.select(start, stop)
        return ledger.write(
            LedgerWrite(content, progress, alerts=[alert], refusals=[refused], watermark_us=stop), if_known="leave"
        )

    assert write(0, 20, "older") == Written(added=20)
    assert write(20, 50, "newer") == Written(added=30)
    assert write(10, 30, "older") == Written(left=20)
    assert write(20, 50, "newer") == Written(left=30)
    assert ledger.progress("kafka:d/0") == Progress("kafka:d/0", "d", 50, 49)
    assert ledger.refusals() == 2
    assert ledger.alerts()[0].text == "newer"
    assert ledger.watermark_us() == 50


def test_the_watermark_of_several_sources_is_the_highest(ledger: SqlLedger) -> None:
    for at_us in (7, 9, 3):
        ledger.write(LedgerWrite(None, watermark_us=at_us, refusals=[Refusal("no", "s", 1, b"x")]))
    assert ledger.watermark_us() == 9
    assert ledger.refusals() == 3


def test_running_numbers_may_have_any_gap(ledger: SqlLedger, decisions: Decisions) -> None:
    numbers = [*range(5), *(1 << 48 | i for i in range(7)), *(12 << 48 | i * 1000 for i in range(9))]
    some = replace(decisions.select(0, len(numbers)), seq=np.array(numbers))
    labels = [(n, Label("user", f"u{n}", "good", 50)) for n in (2 << 48, 1 << 47, 2 << 48 | 1, 13 << 48)]
    ledger.write(LedgerWrite(some, labels=labels))
    wanted = sorted([*numbers, *(n for n, _ in labels)])
    for chunk in (1, 2, 3, 100):
        items = [pair for part in ledger.replay(after_seq=-1, chunk=chunk) for pair in part]
        assert [seq for seq, _ in items] == wanted
        assert {seq for seq, item in items if isinstance(item, Label)} == {n for n, _ in labels}
    assert [seq for part in ledger.replay(after_seq=1 << 48, chunk=2) for seq, _ in part] == wanted[7:]
    assert [seq for part in ledger.iterate(chunk=4) for seq, _ in part] == numbers
    bodies = [(e.tenant, e.event_id, body_hash(e)) for e in some.events]
    assert list(ledger.event_bodies(limit=6)) == bodies[-6:]
    assert list(ledger.event_bodies(limit=21)) == list(ledger.event_bodies(limit=10_000)) == bodies
    assert list(ledger.event_bodies(limit=0)) == []


def test_versions_of_a_write_that_failed_are_not_taken_for_known(ledger: SqlLedger, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(decisions.select(0, 5)))
    other = replace(decisions, versions=[Versions("s", {"x": "2"}, "p")] * len(decisions))
    with pytest.raises(Corrupt):
        ledger.write(LedgerWrite(other.select(3, 8)))
    ledger.write(LedgerWrite(other.select(5, 8)))
    ids = [e.event_id for e in decisions.events[:8]]
    found = ledger.assessments("default", ids)
    assert [found[i].assessment.versions.schema == "s" for i in ids] == [False] * 5 + [True] * 3


def test_old_months_are_dropped_with_what_belongs_to_them(ledger: LedgerQueries, decisions: Decisions) -> None:
    day = 1_700_000_000_000_000
    times = [day + i * 20 * DAY_US for i in range(9)]
    cut = starts_us(month_of(times[5]))
    some = decisions.select(0, 9)
    events = [msgspec.structs.replace(e, event_id=f"e{i}", at_us=times[i]) for i, e in enumerate(some.events)]
    labels = [
        (100 + i, Label(kind, id_, "fraud", known))
        for i, (kind, id_, known) in enumerate(
            [("event", "e0", times[0]), ("event", "e8", times[8]), ("user", "u", times[0]), ("event", "e1", times[7])]
        )
    ]
    alerts = [
        Alert(f"a{i}", "default", "user", "u", "r", times[0], times[i], 1, 0.5, "HIGH", "now", "why") for i in range(9)
    ]
    pairs = [(f"a{i}", f"e{i}") for i in range(9)]
    ledger.write(LedgerWrite(replace(some, events=events), alerts=alerts, alert_events=pairs, labels=labels))
    old = sum(at < cut for at in times)
    before = ledger.logical_digest()
    would = ledger.retain(times[5], dry_run=True)
    assert would.items() >= {"before_us": cut, "events": old, "alerts": old, "labels": 1}.items()
    assert ledger.logical_digest() == before
    assert ledger.retain(times[5]) == would
    kept = [f"e{i}" for i in range(old, 9)]
    assert [s.event.event_id for part in ledger.iterate() for _, s in part] == kept
    assert set(ledger.assessments("default", [f"e{i}" for i in range(9)])) == set(kept)
    assert [a.alert_id for a in ledger.alerts()] == [f"a{i}" for i in range(8, old - 1, -1)]
    assert ledger.alert_events("a0") == []
    assert ledger.alert_events("a8") == ["e8"]
    assert ledger.labels_of("default", "event", ["e0", "e1", "e8"]) == {labels[1][1], labels[3][1]}
    assert ledger.labels_of("default", "user", ["u"]) == {labels[2][1]}
    assert ledger.tenant_counts("default")["assessments"] == ledger.counts()["assessments"] == 9 - old
    assert ledger.retain(times[5]).items() >= {"events": 0, "alerts": 0, "labels": 0}.items()
    ledger.write(LedgerWrite(replace(some, events=events).select(0, 2)))
    assert ledger.counts()["assessments"] == 11 - old, "an old event that comes now is taken in"


def test_an_alert_does_not_shrink_when_an_older_state_comes_late(ledger: SqlLedger) -> None:
    def alert(events: int, text: str) -> Alert:
        return Alert("a", "t", "user", "u", "r", 1, events, events, 0.5, "HIGH", "now", text)

    ledger.write(LedgerWrite(None, alerts=[alert(3, "three"), alert(2, "two")]))
    assert ledger.alerts() == [alert(3, "three")]
    ledger.write(LedgerWrite(None, alerts=[alert(1, "one")]))
    assert ledger.alerts() == [alert(3, "three")]
    ledger.write(LedgerWrite(None, alerts=[alert(3, "again")]), LedgerWrite(None, alerts=[alert(3, "last")]))
    assert ledger.alerts() == [alert(3, "last")]


def test_a_ledger_made_by_an_earlier_version_opens(tmp_path: Path, decisions: Decisions) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    alert = Alert("a", "t", "user", "u", "r", 1, 5, 7, 0.5, "HIGH", "now", "why")
    with closing(SqlLedger(url, SCHEMA)) as ledger:
        ledger.prepare()
        ledger.write(LedgerWrite(decisions.select(0, 10), alerts=[alert]))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.executescript(
            "DROP TABLE ring_history; DROP TABLE rings; ALTER TABLE alerts DROP COLUMN events; UPDATE alembic_version SET version_num = '0002'"
        )
    with closing(SqlLedger(url, SCHEMA)) as ledger:
        ledger.prepare()
        later = Alert("a", "t", "user", "u", "r", 1, 6, 8, 0.5, "HIGH", "now", "why")
        assert ledger.alerts() == [alert]
        ledger.write(LedgerWrite(decisions.select(10, 20), alerts=[later]))
        assert ledger.alerts() == [later]
        assert ledger.counts()["assessments"] == 20
        assert ledger.rings("t", limit=9) == []
        assert ledger.ring_history("t", "r") == []


def test_people_read_a_tenants_alerts_by_page(ledger: LedgerQueries, decisions: Decisions) -> None:
    day = 1_700_000_000_000_000
    alerts = [
        Alert(f"a{i}", "t" if i % 3 else "u", "user", "x", "r", day, day + i // 2, 1, 0.5, "HIGH", "now", "why")
        for i in range(30)
    ]
    ledger.write(LedgerWrite(decisions.select(0, 3), alerts=alerts))
    found, place = ledger.alert_page("t", AlertFilter(since_us=day + 2), limit=7, after=None)
    rest, end = ledger.alert_page("t", AlertFilter(since_us=day + 2), limit=100, after=place)
    wanted = sorted((a for a in alerts if a.tenant == "t" and a.last_at_us >= day + 2), key=lambda a: a.alert_id)
    assert [*found, *rest] == sorted(wanted, key=lambda a: (a.last_at_us, a.alert_id), reverse=True)
    assert end is None
    assert ledger.alert_page("t", AlertFilter(until_us=day + 1), limit=9, after=None)[0] == [alerts[1]]
    assert ledger.alert("t", "a1") == alerts[1]
    assert ledger.alert("u", "a1") is None
    assert ledger.tenant_counts("t")["alerts"] == 20
    event_id = decisions.events[1].event_id
    assert ledger.stored("default", event_id) is not None
    assert ledger.stored("t", event_id) is None


def test_digest_tells_ledgers_apart_but_not_by_timing(tmp_path: Path, decisions: Decisions) -> None:
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
