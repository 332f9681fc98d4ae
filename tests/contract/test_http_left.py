"""What was scored over HTTP and did not get out, or is not known to have: it goes out once, whoever is left to send it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
from support.backends import Backends
from support.expected import events_of, market
from support.streams import payment

from bus.clients import BusSettings, reached
from bus.messages import decode_alert
from bus.topics import Topics
from ingest.source import Chunk
from ringwatch.errors import Unavailable
from ringwatch.model import Alert, Event
from ringwatch.settings import Settings
from ringwatch.shared_wiring import Shared, open_shared, replayed_of
from roles import http_scoring
from roles.emitter import Placed
from roles.http_scoring import HttpScoring
from roles.outgoing import Outgoing
from roles.rebuild import rebuild
from roles.retelling import AlertsLog

pytestmark = pytest.mark.backends
TENANT = "default"


@pytest.fixture
def here(request: pytest.FixtureRequest, backends: Backends, tmp_path: Path) -> Iterator[Shared]:
    with (
        backends.kafka.fresh() as prefix,
        backends.redis.fresh() as redis,
        backends.postgres.fresh() as postgres,
    ):
        named = {**backends.settings, **redis, **postgres, "RINGWATCH_TOPIC_PREFIX": prefix.rstrip(".")}
        given = {name.removeprefix("RINGWATCH_").lower(): value for name, value in named.items()}
        settings = Settings(
            **{**given, "graph_url": "none:", "instance": "mine", "max_entities": 10_000, "data_dir": tmp_path}
        )  # type: ignore[arg-type]
        Topics(settings.topic_prefix).create(reached(BusSettings.from_url(settings.bus_url)), partitions=2)
        opened = open_shared(settings, getattr(request, "param", ["api"]))
        opened.ledger.prepare()
        opened.state.initialise()
        yield opened
        http_of(opened).close()
        opened.closing.close()


def http_of(here: Shared) -> HttpScoring:
    assert here.http is not None
    return here.http


def events(n: int, first: int = 0) -> list[Event]:
    return [payment(first + i, int(time.time() * 1e6) + i, tenant=TENANT) for i in range(n)]


def told(here: Shared) -> Counter[str]:
    return Counter(m.event_id for _, _, m in here.log.read({}))  # type: ignore[union-attr]


def sweep(here: Shared) -> int:
    return http_of(here).sweep([TENANT], here.log.present)


def test_another_clock_than_the_brokers_sends_nothing_twice(here: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is five seconds ahead; what went out was never settled."""
    assert here.scoring is not None
    monkeypatch.setattr(here.scoring, "_clock", lambda: time.time() + 5.0)
    monkeypatch.setattr(here.scoring, "settle", lambda scored, keep: None)
    monkeypatch.setattr(http_scoring, "LEFT_S", -60.0)
    items = events(5)
    http_of(here).take(Chunk(items, range(1, 6), None), "http").written.result(20)
    assert len(here.state.unsettled(TENANT)) == 5
    assert sweep(here) == 0
    assert told(here) == Counter(e.event_id for e in items)
    assert here.state.unsettled(TENANT) == []


def test_what_an_instance_that_is_gone_left_goes_out_once(here: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.scoring is not None
    items = events(3)
    here.scoring.score(items, [b"http/gone/%d" % i for i in range(3)], patient=False)
    here.scoring.failed()
    assert sweep(here) == 0  # it may come back
    monkeypatch.setattr(http_scoring, "FORSAKEN_S", -60.0)
    assert sweep(here) == 3
    assert sweep(here) == 0
    assert told(here) == Counter(e.event_id for e in items)


def test_what_is_not_in_kafka_is_not_answered_as_kept(here: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again while its decision is in the state only, an event has no answer yet; once it is out it has."""
    assert here.scoring is not None
    http, items = http_of(here), events(2)

    def away(messages: object) -> None:
        raise Unavailable("the brokers are away")

    with monkeypatch.context() as patched:
        patched.setattr(http._emitter, "emit", away)
        with pytest.raises(Unavailable):
            http.take(Chunk(items, range(1, 3), None), "http")
    again = http.take(Chunk(items, range(1, 3), None), "http")
    assert again.known == {}
    monkeypatch.setattr(http_scoring, "LEFT_S", -60.0)
    assert sweep(here) == 2
    assert set(http.take(Chunk(items, range(1, 3), None), "http").known) == {(TENANT, e.event_id) for e in items}
    assert told(here) == Counter(e.event_id for e in items)


def test_a_rebuild_counts_what_is_not_on_the_topic_yet(here: Shared) -> None:
    assert here.scoring is not None
    http = http_of(here)
    http.take(Chunk(events(3), range(1, 4), None), "http").written.result(20)
    left = events(2, first=3)
    here.scoring.score(left, [b"http/mine/%d" % i for i in range(2)], patient=False)
    here.scoring.failed()
    assert rebuild(here.state, here.log, replayed_of(here.settings, here.schema), "test")
    taken = http.take(Chunk(events(1, first=5), range(1, 2), None), "http")
    assert taken.decisions.features[0, here.schema.column("user.count_all")] == 6
    assert http.take(Chunk(left, range(1, 3), None), "http").decisions.features.shape[0] == 0


@pytest.mark.parametrize("here", [["api", "scorer", "ring-keeper"]], indirect=True)
def test_memory_waits_for_a_transaction_that_may_yet_go_through(here: Shared) -> None:
    """Brought back before, it would never hear of what went through after."""
    assert here.scoring is not None
    http = http_of(here)
    here.scoring.score(events(2), [b"fraud.events/0/0", b"fraud.events/0/1"], patient=True)
    here.scoring.failed(unsure="scorer")
    with pytest.raises(Unavailable, match="not known yet"):
        http.take(Chunk(events(1, first=2), range(1, 2), None), "http")
    here.scoring.sure("labels")
    with pytest.raises(Unavailable, match="not known yet"):
        http.take(Chunk(events(1, first=2), range(1, 2), None), "http")
    here.scoring.sure("scorer")
    http.take(Chunk(events(1, first=2), range(1, 2), None), "http").written.result(20)
    assert told(here) == Counter({"e2": 1})


@pytest.mark.parametrize("here", [["api", "scorer", "ring-keeper"]], indirect=True)
def test_alerts_that_did_not_get_out_are_told_once(
    here: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process ends each time between a decision and its alert; of the first half every other alert was told."""
    assert here.scoring is not None
    http, emit = http_of(here), http_of(here)._emitter.emit
    wanted: dict[str, Alert] = {}
    joined: set[tuple[str, str]] = set()
    sent: list[int] = []

    def without_alerts(messages: Sequence[Outgoing]) -> Future[Placed]:
        alerts = [m for m in messages if m[0] == here.topics.alerts]
        for _, _, raw in alerts:
            told = decode_alert(raw)
            wanted[told.alert_id] = told.alert
            joined.update((told.alert_id, event_id) for event_id in told.event_ids)
        kept = alerts[::2] if len(sent) < 2 else []
        sent.append(len(kept))
        return emit([m for m in messages if m not in alerts or m in kept])

    monkeypatch.setattr(http._emitter, "emit", without_alerts)
    stream = events_of(market(tmp_path, 2000), TENANT)
    for first in range(0, len(stream), 500):
        chunk = stream[first : first + 500]
        http.take(Chunk(chunk, range(1, len(chunk) + 1), None), "http").written.result(20)
    assert len(wanted) > 5
    assert sum(sent) > 0
    log = AlertsLog(here.bus, here.topics.alerts)
    since_us = int((time.time() - 600) * 1e6)
    assert log.events(since_us) < {(TENANT, event_id) for _, event_id in joined}
    for _ in range(2):
        with here.scoring.lock:
            here.scoring.recover()
        pairs = Counter((m.alert_id, event_id) for _, _, m in log.read({}) for event_id in m.event_ids)
        assert pairs == Counter(joined)
    assert {m.alert_id: m.alert for _, _, m in log.read({})} == wanted
    founding = Counter(m.alert_id for _, _, m in log.read({}) if m.new)
    assert founding == Counter(list(wanted))
