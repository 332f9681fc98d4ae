"""The events of an entity and the search of identifiers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.ledgers import fresh_database, scored

from features.schema import FeatureSchema
from ledger import entity_queries
from ledger.entity_queries import EntityEvent, EventFilter, Place
from ledger.queries import LedgerQueries
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite
from ringwatch.model import DAY_US, MICROSECONDS, Alert, Level
from scorers.decision import Decisions

SCHEMA = FeatureSchema()
ALL = EventFilter()


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return scored(600)


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


def pages(ledger: LedgerQueries, kind: str, id_: str, wanted: EventFilter, size: int) -> list[EntityEvent]:
    found: list[EntityEvent] = []
    place: Place | None = None
    while True:
        some, place = ledger.timeline("default", kind, id_, wanted, limit=size, after=place)
        assert len(some) <= size
        found += some
        if place is None:
            return found


def entities(ledger: LedgerQueries, kind: str, text: str, limit: int, tenant: str = "default") -> list[str]:
    found = ledger.entities_from(tenant, ["user", kind, "promo"], text, limit=limit)
    assert found["promo"] == []
    return found[kind]


def expected(decisions: Decisions, kind: str, id_: str) -> list[str]:
    mine = [e for e in decisions.events if e.entities.get(kind) == id_]
    return [e.event_id for e in sorted(mine, key=lambda e: (e.at_us, e.event_id), reverse=True)]


def test_every_entity_of_an_event_has_it_newest_first_in_pages_of_any_size(
    ledger: LedgerQueries, decisions: Decisions
) -> None:
    alerts = [Alert("a1", "default", "user", "u", "r", 1, 1, 1, 0.5, "HIGH", "now", "why"),
              Alert("a0", "other", "user", "u", "r", 1, 1, 1, 0.5, "HIGH", "now", "why")]  # fmt: skip
    alerted = decisions.events[5].event_id
    ledger.write(LedgerWrite(decisions.select(0, 200)))
    ledger.write(
        LedgerWrite(
            decisions.select(200, len(decisions)), alerts=alerts, alert_events=[("a1", alerted), ("a0", alerted)]
        )
    )
    things = sorted({thing for e in decisions.events for thing in e.entities.items()})
    assert {kind for kind, _ in things} == {"user", "device", "card", "ip", "merchant", "sku"}
    rng = random.Random(3)
    for kind, id_ in [("merchant", "m1"), *rng.sample(things, 20)]:
        found = pages(ledger, kind, id_, ALL, rng.choice([1, 2, 7, 300]))
        assert [x.event.event_id for x in found] == expected(decisions, kind, id_)
        for x in found:
            row = next(i for i, e in enumerate(decisions.events) if e.event_id == x.event.event_id)
            given = decisions.assessment(row)
            assert (x.event, x.score) == (decisions.events[row], decisions.score[row])
            assert (x.level, x.action) == (given.level, given.action)
            assert x.alert_id == ("a1" if x.event.event_id == alerted else None)
    assert ledger.timeline("other", "merchant", "m1", ALL, limit=5, after=None) == ([], None)
    last = {
        (kind, id_): max((e.at_us, e.event_id) for e in decisions.events if e.entities.get(kind) == id_)
        for kind, id_ in things
    }
    assert ledger.last_events("default", [*things, ("user", "nobody"), things[0]]) == last
    assert ledger.last_events("other", things) == {}
    assert ledger.last_events("default", []) == {}


def test_a_timeline_is_of_a_time_and_of_types(
    ledger: LedgerQueries, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.write(LedgerWrite(decisions))
    mine = [e for e in decisions.events if e.entities.get("merchant") == "m1"]
    times = sorted(e.at_us for e in mine)
    wanted = EventFilter(times[3], times[-3], ("payment", "login"))
    right = {e.event_id for e in mine if times[3] <= e.at_us < times[-3] and e.type in wanted.types}
    assert {x.event.event_id for x in pages(ledger, "merchant", "m1", wanted, 2)} == right
    monkeypatch.setattr(entity_queries, "LOOKED_AT", 5)
    some, place = ledger.timeline("default", "merchant", "m1", replace(wanted, types=("never",)), limit=3, after=None)
    assert some == []
    assert place is not None, "what was looked at is bounded: a short page has a next"
    assert {x.event.event_id for x in pages(ledger, "merchant", "m1", wanted, 3)} == right


def test_an_event_told_twice_is_there_once_and_a_late_one_does_not_move_a_page(
    ledger: LedgerQueries, decisions: Decisions
) -> None:
    user = decisions.events[0].entities["user"]
    ledger.write(LedgerWrite(decisions.select(0, 300)), if_known="leave")
    ledger.write(LedgerWrite(decisions.select(100, 400)), if_known="leave")
    twice = replace(decisions.select(0, 50), seq=np.arange(50) + (1 << 48))
    assert ledger.write(LedgerWrite(twice), if_known="leave").again == 50
    first, place = ledger.timeline("default", "user", user, ALL, limit=3, after=None)
    ledger.write(LedgerWrite(decisions.select(400, len(decisions))), if_known="leave")
    rest, _ = ledger.timeline("default", "user", user, ALL, limit=500, after=place)
    known = expected(decisions.select(0, 400), "user", user)
    assert [x.event.event_id for x in first] == known[:3]
    later = [x.event.event_id for x in rest if x.event.event_id in known]
    assert later == known[3:]


def test_identifiers_are_found_whole_and_by_how_they_begin(ledger: LedgerQueries, decisions: Decisions) -> None:
    alerts = [Alert(f"ab{i}", "default" if i % 2 else "other", "user", "u", "r", 1, i, 1, 0.5, "HIGH", "now", "why")
              for i in range(6)]  # fmt: skip
    ledger.write(LedgerWrite(decisions, alerts=alerts))
    ids = sorted({e.entities["card"] for e in decisions.events if "card" in e.entities})
    assert entities(ledger, "card", "c", 500) == ids
    assert entities(ledger, "card", "c", 3) == ids[:3]
    assert entities(ledger, "card", "c1", 500) == [i for i in ids if i.startswith("c1")]
    assert entities(ledger, "card", "c1", 1) == [next(i for i in ids if i.startswith("c1"))]
    assert entities(ledger, "card", "nothing", 5) == []
    assert entities(ledger, "card", "%", 5) == []
    assert entities(ledger, "card", "c", 5, "other") == []
    events = sorted(e.event_id for e in decisions.events)
    assert [x.event.event_id for x in ledger.events_from("default", "11-1", limit=900)] == [
        i for i in events if i.startswith("11-1")
    ]
    assert len(ledger.events_from("default", "11-1", limit=4)) == 4
    assert ledger.events_from("other", "11-1", limit=4) == []
    assert [a.alert_id for a in ledger.alerts_from("default", "ab", limit=2)] == ["ab1", "ab3"]
    assert ledger.alerts_from("default", "ab2", limit=2) == []


def test_dropped_months_leave_the_timeline(ledger: LedgerQueries, decisions: Decisions) -> None:
    start = 1_700_000_000_000_000
    times = [start + i * 20 * DAY_US for i in range(9)]
    events = [
        msgspec.structs.replace(e, event_id=f"e{i}", at_us=times[i], entities={"user": "u", "ip": f"i{i}"})
        for i, e in enumerate(decisions.select(0, 9).events)
    ]
    ledger.write(LedgerWrite(replace(decisions.select(0, 9), events=events)))
    before = ledger.retain(times[5])["before_us"]
    kept = [f"e{i}" for i in reversed(range(9)) if times[i] >= before]
    assert 0 < len(kept) < 9
    assert [x.event.event_id for x in pages(ledger, "user", "u", ALL, 2)] == kept
    assert entities(ledger, "ip", "i", 50) == [f"i{i[1:]}" for i in reversed(kept)]
    ledger.write(LedgerWrite(replace(decisions.select(0, 9), events=events).select(0, 2)), if_known="leave")
    assert [x.event.event_id for x in pages(ledger, "user", "u", ALL, 2)] == [*kept, "e1", "e0"]


def test_a_ledger_of_an_earlier_version_has_timelines_from_then_on(url: str, decisions: Decisions) -> None:
    with closing(SqlLedger(url, SCHEMA)) as ledger:
        ledger.prepare()
        ledger.write(LedgerWrite(decisions.select(0, 100)))
        with ledger._engine.begin() as connection:
            for statement in (
                "DROP TABLE event_entities",
                "DROP INDEX alert_events_by_event",
                "UPDATE alembic_version SET version_num = '0004'",
            ):
                connection.exec_driver_sql(statement)
    with closing(LedgerQueries(url, SCHEMA)) as opened:
        opened.prepare()
        later = decisions.select(100, 600)
        opened.write(LedgerWrite(later), if_known="leave")
        assert [x.event.event_id for x in pages(opened, "merchant", "m1", ALL, 50)] == expected(later, "merchant", "m1")
        assert opened.retain(4_000_000_000_000_000)["events"] == 600
        assert pages(opened, "merchant", "m1", ALL, 50) == []


def test_peers_are_calm_events_before_one_with_their_features(ledger: LedgerQueries, decisions: Decisions) -> None:
    features = decisions.features.copy()
    features[3] = np.nan
    made = replace(decisions, features=features)
    ledger.write(LedgerWrite(made.select(0, 400)))
    at = next(i for i in range(399, 0, -1) if made.level[i] > Level.LOW)
    calm = [i for i in range(at - 1, -1, -1) if made.level[i] == Level.LOW and i != 3]
    found = ledger.calm_before("default", made.events[at].event_id, limit=500)
    assert found.types == tuple(made.events[i].type for i in calm)
    np.testing.assert_array_equal(found.features, features[calm])
    few = ledger.calm_before("default", made.events[at].event_id, limit=7)
    np.testing.assert_array_equal(few.features, features[calm[:7]])
    assert ledger.calm_before("default", "nobody", limit=7).types == ()
    assert ledger.calm_before("other", made.events[at].event_id, limit=7).features.shape == (0, SCHEMA.size)


def test_events_of_many_users_come_in_order_of_their_names(ledger: LedgerQueries, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(decisions))
    users = sorted({e.user for e in decisions.events if e.user is not None})[::2]
    times = sorted(e.at_us for e in decisions.events)
    since_us, until_us = times[50], times[550]
    mine = [e for e in decisions.events if e.user in users and since_us <= e.at_us < until_us]
    mine.sort(key=lambda e: (e.user, e.at_us, e.event_id))
    assert 0 < len(mine) < 550
    assert ledger.events_of_users("default", users, since_us=since_us, until_us=until_us, limit=1000) == mine
    assert ledger.events_of_users("default", users, since_us=since_us, until_us=until_us, limit=9) == mine[:9]
    assert ledger.events_of_users("other", users, since_us=since_us, until_us=until_us, limit=9) == []
    assert ledger.events_of_users("default", [], since_us=since_us, until_us=until_us, limit=9) == []


def test_users_of_an_entity_at_some_seconds(ledger: LedgerQueries, decisions: Decisions) -> None:
    ledger.write(LedgerWrite(decisions))
    places = {
        (kind, id_, e.at_us // MICROSECONDS): set[str]() for e in decisions.events for kind, id_ in e.entities.items()
    }
    for e in decisions.events:
        for kind, id_ in e.entities.items():
            places[kind, id_, e.at_us // MICROSECONDS] |= {e.user} if e.user is not None else set()
    asked = [place for place in places if place[0] != "user"][::7][:100]
    for place in asked[:30]:
        assert ledger.users_at("default", [place]) == places[place]
    assert ledger.users_at("default", asked) == set().union(*(places[place] for place in asked))
    kind, id_, second = asked[0]
    assert ledger.users_at("default", [(kind, id_, second - 10**7)]) == set()
    assert ledger.users_at("other", asked) == ledger.users_at("default", []) == set()
