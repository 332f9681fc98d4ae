"""The state in Redis made anew: scorers go on with what there is, and afterwards nothing is missing and nothing double."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from support.backends import Backend
from support.shared import SCHEMA, TENANT, entries, forget, fresh_state, other, record, same_records, write
from support.streams import START_US, payment, stream

from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.redis_rebuild import Rebuild
from features.redis_state import RedisState
from features.shared_state import SAME, ColdEntity, ColdLink, StateLost
from ingest.redelivery import body_hash
from ringwatch.errors import Conflict, Unavailable
from ringwatch.model import DAY_US, Event, Label

pytestmark = pytest.mark.backends


@pytest.fixture
def state(redis_server: Backend) -> Iterator[RedisState]:
    with fresh_state(redis_server.url, password=redis_server.password) as state:
        yield state


def memory() -> MemoryState:
    return MemoryState(SCHEMA, max_entities=5000)


def began(state: RedisState, ttl_s: float = 10.0) -> Rebuild:
    rebuild = Rebuild(state)
    assert rebuild.begin_rebuild("me", ttl_s)
    return rebuild


def marks(events: list[Event]) -> Iterator[tuple[str, bytes, bytes]]:
    return ((e.event_id, body_hash(e), b"replayed") for e in events)


def test_a_state_made_anew_goes_on_as_if_never_lost(state: RedisState) -> None:
    items = stream(3, 600)
    first, rest = items[:500], items[500:]
    write(state, first)
    forget(state)
    with pytest.raises(StateLost):
        state.begin(TENANT, entries(rest))
    whole, replay, rebuild = memory(), memory(), began(state)
    whole.apply(first)
    replay.apply(first)
    rebuild.hold([TENANT])
    assert rebuild.load(TENANT, replay) == len(replay.contents()[0])
    events = [x for x in first if isinstance(x, Event)]
    assert rebuild.mark(TENANT, marks(events)) == len(events)
    rebuild.release()
    rebuild.finish()
    assert same_records(state, whole)
    assert state.stats()["rebuilding"] == 0
    again = state.begin(TENANT, entries(events[:3]))
    assert again.found == [(SAME, b"replayed", None)] * 3
    features = write(state, rest, start=500)
    assert np.array_equal(features.view(np.uint32), whole.apply(rest).view(np.uint32))
    assert same_records(state, whole)


def test_scorers_go_on_meanwhile_and_say_so(state: RedisState) -> None:
    write(state, stream(3, 100))
    forget(state)
    rebuild = began(state)
    assert state.stats()["rebuilding"] == 1
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    assert pending.degraded == [("state_rebuilding",)]
    assert pending.commit([b"r"])
    rebuild.hold([TENANT])
    replay = memory()
    replay.apply([payment(0, START_US), payment(1, START_US)])
    rebuild.load(TENANT, replay)
    rebuild.finish()
    pending = state.begin(TENANT, entries([payment(2, START_US + 1)]))
    assert pending.degraded == [()]
    assert pending.features[0, SCHEMA.column("user.count_all")] == 3


def test_what_the_replay_does_not_know_is_removed(state: RedisState) -> None:
    write(state, [payment(1, START_US, entities={"user": "gone", "device": "d"})])
    assert state.begin("other", entries([payment(1, START_US, tenant="other")])).commit([b"r"])
    rebuild, replay = began(state), memory()
    replay.apply([payment(2, START_US, entities={"user": "u", "device": "d"})])
    rebuild.hold([TENANT])
    rebuild.load(TENANT, replay)
    rebuild.finish()
    assert record(state, "user", "gone") is None
    assert record(state, "user", "u", "other") is not None
    assert same_records(state, replay)


def test_a_batch_begun_before_the_load_begins_again(state: RedisState) -> None:
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    write(state, [payment(5, START_US, entities={"user": "x"})])
    rebuild, replay = began(state), memory()
    replay.apply([payment(2, START_US)])
    rebuild.hold([TENANT])
    rebuild.load(TENANT, replay)
    rebuild.finish()
    assert not pending.commit([b"r"])
    assert write(state, [payment(1, START_US)])[0, SCHEMA.column("user.count_all")] == 2


def test_commits_wait_while_they_are_held(state: RedisState) -> None:
    rebuild = began(state)
    rebuild.hold([TENANT])
    released_s = []

    def release() -> None:
        time.sleep(0.4)
        released_s.append(time.monotonic())
        rebuild.release()

    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    thread = threading.Thread(target=release)
    thread.start()
    assert pending.commit([b"r"])
    assert time.monotonic() >= released_s[0]
    thread.join()


def test_commits_do_not_wait_for_ever(state: RedisState) -> None:
    impatient = other(state, hold_s=0.3)
    began(state).hold([TENANT])
    pending = impatient.begin(TENANT, entries([payment(1, START_US)]))
    with pytest.raises(Unavailable, match="held"):
        pending.commit([b"r"])
    assert impatient.begin("free", entries([payment(1, START_US)])).commit([b"r"])


def test_one_rebuilds_at_a_time_and_may_die(state: RedisState) -> None:
    first, second = began(state, ttl_s=1.0), Rebuild(other(state))
    first.hold([TENANT])
    assert not second.begin_rebuild("you", 5.0)
    first.load(TENANT, memory())
    time.sleep(1.3)
    with pytest.raises(StateLost):
        state.begin(TENANT, entries([payment(1, START_US)]))
    assert second.begin_rebuild("you", 5.0)
    with pytest.raises(Conflict, match="not being rebuilt by this process"):
        first.finish()
    second.hold([TENANT])
    second.load(TENANT, memory())
    second.finish()
    assert write(state, [payment(1, START_US)])[0, SCHEMA.column("user.count_all")] == 1


def test_a_tenant_nobody_decided_about_is_new_afterwards(state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    state.begin(TENANT, [])
    forget(state, f"{{{TENANT}}}:")
    with pytest.raises(StateLost):
        state.ready()
    began(state).finish()
    state.ready()
    assert write(state, [payment(1, START_US)])[0, SCHEMA.column("user.count_all")] == 1


def test_signs_of_life_prolong(state: RedisState) -> None:
    rebuild = began(state, ttl_s=1.0)
    rebuild.hold([TENANT])
    for _ in range(4):
        time.sleep(0.5)
        rebuild.renew()
    rebuild.load(TENANT, memory())
    rebuild.finish()


def test_nothing_is_loaded_that_is_not_held(state: RedisState) -> None:
    rebuild = began(state)
    with pytest.raises(Conflict, match="not held"):
        rebuild.load(TENANT, memory())


KNOWN = ColdEntity(
    START_US - 100 * DAY_US, START_US - 40 * DAY_US, 37, 9000,
    (
        ColdLink("user", "a", START_US - 100 * DAY_US, START_US - 50 * DAY_US, 30),
        ColdLink("user", "b", START_US - 60 * DAY_US, START_US - 40 * DAY_US, 7),
    ),
)  # fmt: skip
HERE = {"user": "u", "device": "d", "ip": "i"}


def cold_state(state: RedisState, asked: list[object], fail: bool = False) -> RedisState:
    def read(tenant: str, wanted: list[tuple[str, str]], deadline_s: float) -> dict[tuple[str, str], ColdEntity]:
        asked.append((tenant, wanted, deadline_s))
        if fail:
            raise Unavailable("the graph took too long")
        return {entity: KNOWN for entity in wanted if entity[0] == "device"}

    return other(state, cold_reader=read, state_ttl_s=86_400)


def test_a_cold_entity_begins_with_what_the_graph_knows(state: RedisState) -> None:
    asked: list[object] = []
    with closing(cold_state(state, asked)) as cold:
        pending = cold.begin(TENANT, entries([payment(1, START_US, entities=HERE)]))
        assert asked == [(TENANT, [("user", "u"), ("device", "d"), ("ip", "i")], 0.005)]
        assert pending.degraded == [("cold:device",)]
        row = pending.features[0]
        assert row[SCHEMA.column("device.count_all")] == 38
        assert row[SCHEMA.column("device.age_s")] == 100 * 86_400
        assert row[SCHEMA.column("device.neighbours_all")] == 3
        assert row[SCHEMA.column("device.link_new")] == 1
        assert pending.commit([b"r"])
        row = write(cold, [payment(2, START_US + 1, entities={"user": "b", "device": "d"})])[0]
        assert row[SCHEMA.column("device.link_new")] == 0
        assert row[SCHEMA.column("device.link_count")] == 8
        assert row[SCHEMA.column("device.link_age_s")] == 60 * 86_400
        assert len(asked) == 2
        ttl_s = state.wire.ask("TTL", *state.keys(TENANT).records(record(state, "device", "d")["key"].reshape(1)))
        assert 86_000 < ttl_s <= 86_400


def test_cold_entities_the_graph_did_not_read_in_time_are_named(state: RedisState) -> None:
    cold = cold_state(state, [], fail=True)
    pending = cold.begin(TENANT, entries([payment(1, START_US, entities=HERE), payment(2, START_US)]))
    assert pending.degraded == [("cold_unread:user", "cold_unread:device", "cold_unread:ip"), ("cold_unread:user",)]
    assert pending.commit([b"r", b"r"])


def test_who_signs_up_is_new_and_not_cold(state: RedisState) -> None:
    asked: list[object] = []
    signup = Event("s", "signup", START_US, {"user": "u", "session": "x"})
    assert cold_state(state, asked).begin(TENANT, entries([signup])).degraded == [()]
    assert asked == [(TENANT, [("session", "x")], 0.005)]


def test_a_label_finds_a_cold_entity(state: RedisState) -> None:
    label = ResolvedLabel(Label("device", "d", "fraud", START_US), {"device": "d"})
    cold = cold_state(state, [])
    assert cold.begin(TENANT, entries([label])).commit([])
    found = record(state, "device", "d")
    assert found is not None
    assert (found["count"], found["fraud_labels"]) == (37, 1)


def test_without_a_lifetime_nobody_is_cold(state: RedisState) -> None:
    asked: list[object] = []

    def read(*arguments: object) -> dict[tuple[str, str], ColdEntity]:
        asked.append(arguments)
        return {}

    assert other(state, cold_reader=read).begin(TENANT, entries([payment(1, START_US)])).degraded == [()]
    assert asked == []
    began(state)
    pending = other(state, cold_reader=read).begin(TENANT, entries([payment(1, START_US)]))
    assert pending.degraded == [("state_rebuilding",)]
    assert len(asked) == 1
