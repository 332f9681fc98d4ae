"""The parts of roles that need no server."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from api.asking import Asking
from ringwatch.access import open_bus
from ringwatch.errors import BadInput, Unavailable
from ringwatch.model import BUILTIN_KINDS, Event, Label, Refusal
from ringwatch.settings import Settings
from ringwatch.shared_wiring import event_topics, label_topics, open_shared
from ringwatch.wiring import open_decoder
from roles import store_watch
from roles.health import health_app
from roles.metrics import registry_of_roles, troubles_of
from roles.role import Role
from roles.store_watch import StoreWatch
from roles.taking import TopicIntake

NOW_S = 1_767_300_000.0
LABELLED: dict[str, object] = {"label_of": {"event": "1"}, "label": "fraud", "known_at": "2026-01-01T00:00:00Z"}


class Falling(Role):
    """Fails some times, then works."""

    name = "falling"

    def __init__(self, failures: int, stop: threading.Event) -> None:
        super().__init__()
        self.left, self.opened, self.closed, self.stop = failures, 0, [], stop

    def open(self) -> None:
        self.opened += 1

    def step(self) -> None:
        if self.left:
            self.left -= 1
            raise Unavailable("the store is away")
        self.status.counts["steps"] += 1
        if self.status.counts["steps"] == 3:
            self.stop.set()
        time.sleep(0.001)

    def close(self, *, drained: bool) -> None:
        self.closed.append(drained)


class Concerned(Falling):
    def concern(self) -> str:
        return "a model cannot be used"


def test_a_role_that_works_may_say_what_is_wrong() -> None:
    stop = threading.Event()
    role = Concerned(0, stop)
    role.run(stop)
    assert role.status.ready
    assert troubles_of([role]) == {"falling": "a model cannot be used"}


def test_a_role_opens_again_until_it_works() -> None:
    stop = threading.Event()
    role = Falling(2, stop)
    role.run(stop)
    assert (role.opened, role.closed) == (3, [False, False, True])
    assert role.status.ready
    assert role.status.counts["failures"] == 2
    assert role.ended.is_set()


def test_a_role_whose_clients_do_not_close_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    role = Falling(2, stop)

    def close(*, drained: bool) -> None:
        raise RuntimeError("the broker is gone")

    monkeypatch.setattr(role, "close", close)
    role.run(stop)
    assert role.opened == 3
    assert role.status.counts["steps"] == 3


def test_what_is_wrong_is_told_until_it_is_over() -> None:
    stop = threading.Event()
    role = Falling(0, stop)
    assert troubles_of([role]) == {"falling": "starting"}
    role.run(stop)
    assert troubles_of([role]) == {}
    text = {m.name for m in registry_of_roles([role]).collect()}
    assert "ringwatch_role_ready" in text


async def _get(path: str, roles: list[Role]) -> int:
    codes: list[int] = []

    async def send(message: dict[str, object]) -> None:
        if "status" in message:
            codes.append(int(str(message["status"])))

    await health_app(roles)({"type": "http", "path": path, "method": "GET"}, None, send)  # type: ignore[arg-type]
    return codes[0]


def test_one_that_goes_on_says_what_is_wrong_and_is_ready() -> None:
    """A state that is being rebuilt is told, and requests are answered none the less."""
    stop = threading.Event()
    role = Falling(0, stop)
    role.run(stop)
    role.status.trouble = "the state was lost and is being rebuilt"
    assert troubles_of([role]) == {"falling": "the state was lost and is being rebuilt"}
    assert asyncio.run(_get("/readyz", [role])) == 200


def test_probes_of_a_process_without_the_api() -> None:
    stop = threading.Event()
    role = Falling(0, stop)
    ask = {path: asyncio.run(_get(path, [role])) for path in ("/healthz", "/readyz", "/metrics", "/v1/alerts")}
    assert ask == {"/healthz": 200, "/readyz": 503, "/metrics": 200, "/v1/alerts": 404}
    role.run(stop)
    assert asyncio.run(_get("/readyz", [role])) == 200


@pytest.fixture
def intake() -> TopicIntake:
    decoders = {
        t: open_decoder(Settings(tenant=tenant), BUILTIN_KINDS, tenant) for t, tenant in (("a", "acme"), ("b", "bank"))
    }
    return TopicIntake(decoders, Event, lambda: NOW_S, labels="fraud.labels")


def test_the_tenant_is_that_of_the_topic(intake: TopicIntake) -> None:
    raw = b'{"event_id":"1","type":"payment","at":"2026-01-01T00:00:00Z","user":"u","amount":1}'
    for topic, tenant in (("a", "acme"), ("b", "bank")):
        found = intake.take(topic, 0, 5, raw)
        assert isinstance(found, Event)
        assert found.tenant == tenant == intake.tenant(topic)
    other = intake.take("a", 0, 6, raw.replace(b'"user"', b'"tenant":"bank","user"'))
    assert isinstance(other, Refusal)
    assert (other.source, other.position) == ("a/0", 6)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "empty"), (b"", "invalid"), (b"\xff", "invalid"), (b"[]", "invalid"), (b"[" * 100_000, "invalid"),
        (b'{"event_id":"1","type":"payment","at":"2030-01-01T00:00:00Z","user":"u"}', "time"),
        (b'{"event_id":"1","type":"payment","at":"2026-01-01T00:00:00Z","user":"4539578763621486"}', "card_number"),
        (b'{"type":"label","label_of":{"event":"1"},"label":"fraud","known_at":"2026-01-01T00:00:00Z"}', "invalid"),
    ],
)  # fmt: skip
def test_poison_is_refused_with_place_and_reason(intake: TopicIntake, raw: bytes | None, code: str) -> None:
    found = intake.take("a", 3, 7, raw)
    assert isinstance(found, Refusal)
    assert (found.code, found.source, found.position) == (code, "a/3", 7)
    assert found.reason
    assert b"4539578763621486" not in found.raw


def test_labels_have_a_topic_of_their_own() -> None:
    decoder = open_decoder(Settings(tenant="acme"), BUILTIN_KINDS, "acme")
    intake = TopicIntake({"l": decoder}, Label, lambda: NOW_S, labels="l")
    raw = b'{"type":"label","label_of":{"event":"1"},"label":"fraud","known_at":"2026-01-01T00:00:00Z"}'
    assert isinstance(intake.take("l", 0, 0, raw), Label)
    event = b'{"event_id":"1","type":"payment","at":"2026-01-01T00:00:00Z","user":"u"}'
    found = intake.take("l", 0, 1, event)
    assert isinstance(found, Refusal)
    assert found.reason == "this is an event, not a label (send it to a topic of events)"
    untyped = intake.take("l", 0, 2, raw.replace(b'"type":"label",', b""))
    assert isinstance(untyped, Refusal)
    assert 'a label has "type": "label"' in untyped.reason


@pytest.mark.parametrize(
    "record",
    [
        {"type": "label", **LABELLED},
        {"type": "label", "label": "fraud"},
        {"type": "label", **LABELLED, "event_id": "1", "at": "2026-01-01T00:00:00Z", "user": "u"},
        LABELLED,
        {**LABELLED, "event_id": "1", "at": "2026-01-01T00:00:00Z"},
    ],
    ids=["whole", "half", "with an event's fields", "untyped", "untyped, with an event's fields"],
)
def test_a_label_among_events_is_told_where_it_belongs(intake: TopicIntake, record: dict[str, object]) -> None:
    found = intake.take("a", 0, 0, json.dumps(record).encode())
    assert isinstance(found, Refusal)
    assert found.reason == "this is a label, not an event (send it to fraud.labels)"


@pytest.mark.parametrize("field", LABELLED)
def test_an_event_that_carries_a_label_is_refused(intake: TopicIntake, field: str) -> None:
    event = {"event_id": "1", "type": "payment", "at": "2026-01-01T00:00:00Z", "user": "u"}
    assert isinstance(intake.take("a", 0, 0, json.dumps({**event, "attributes": {"label": "x"}}).encode()), Event)
    found = intake.take("a", 0, 0, json.dumps({**event, field: LABELLED[field]}).encode())
    assert isinstance(found, Refusal)
    assert f"an event has no field '{field}'" in found.reason
    assert '"type": "label"' in found.reason


def test_topics_of_events_and_their_tenants() -> None:
    assert event_topics(Settings(tenant="acme")) == {"fraud.events": "acme"}
    assert event_topics(Settings(event_topics="a=acme, b=bank,c")) == {"a": "acme", "b": "bank", "c": "default"}
    with pytest.raises(BadInput, match="RINGWATCH_EVENT_TOPICS"):
        event_topics(Settings(event_topics="a=acme,a=bank"))
    with pytest.raises(BadInput, match="RINGWATCH_EVENT_TOPICS has 'http=acme'"):
        event_topics(Settings(event_topics="http=acme"))
    assert label_topics(Settings(tenant="acme")) == {"fraud.labels": "acme"}
    assert label_topics(Settings(label_topics="la=acme,lb=bank")) == {"la": "acme", "lb": "bank"}
    with pytest.raises(BadInput, match="'a' is named for events and for labels"):
        label_topics(Settings(event_topics="a=acme", label_topics="a=acme"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "RINGWATCH_GRAPH_URL"), ({"graph_url": "none:"}, "RINGWATCH_STATE_URL"),
        ({"graph_url": "none:", "state_url": "redis://h:1/0"}, "RINGWATCH_LEDGER_URL"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_shared(Settings(bus_url="kafka://h:1", **given), ["scorer"])  # type: ignore[arg-type]


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(BadInput, match="there is no role 'scorerr'"):
        open_shared(Settings(bus_url="kafka://h:1"), ["scorerr"])


def test_roles_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(BadInput, match="without scorer"):
        open_shared(Settings(bus_url="kafka://h:1"), ["api", "ring-keeper"])


def test_a_question_that_nobody_waits_for_any_longer_still_takes_its_place() -> None:
    """Otherwise a store that stands still would get a thread for each that gives up."""
    go, asking = threading.Event(), Asking(1)

    async def give_up() -> None:
        await asyncio.wait_for(asyncio.wrap_future(asking.ask(lambda: go.wait(10))), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    with pytest.raises(Unavailable, match="too many questions"):
        asking.ask(lambda: True)
    go.set()
    time.sleep(0.2)
    assert asking.ask(lambda: 5).result(5) == 5


def test_what_needs_kafka_says_which_setting_names_it() -> None:
    with pytest.raises(BadInput, match="RINGWATCH_BUS_URL is 'none:'"):
        open_bus(Settings())


def test_readiness_follows_the_stores() -> None:
    """A store that does not answer makes the process not ready, by name; it is ready again once it does."""
    away, stop, seen = {"Kafka"}, threading.Event(), []

    def probe() -> None:
        if away:
            seen.append(dict(troubles_of([watch])))
            if len(seen) == 3:
                away.clear()
            raise Unavailable("nobody listens")
        stop.set()

    watch = StoreWatch({"ledger": lambda: None, "Kafka": probe})
    watch.run(stop)
    assert seen[0] == {"stores": "starting"}
    assert seen[-1]["stores"].startswith("Kafka: nobody listens")
    assert troubles_of([watch]) == {}


def test_a_store_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its probe waits for an answer that does not come; it is asked once, and told ready when it goes on."""
    monkeypatch.setattr(store_watch, "ANSWER_S", 0.05)
    goes_on, stop, asked = threading.Event(), threading.Event(), []

    def probe() -> None:
        asked.append(1)
        if len(asked) == 2:
            stop.set()
        goes_on.wait(30)

    watch = StoreWatch({"ledger": probe})
    running = threading.Thread(target=watch.run, args=(stop,))
    running.start()
    until = time.monotonic() + 30
    while troubles_of([watch])["stores"] == "starting" and time.monotonic() < until:
        time.sleep(0.01)
    assert troubles_of([watch])["stores"].startswith("ledger: no answer within 0.05 s")
    assert len(asked) == 1
    goes_on.set()
    running.join(30)
    assert troubles_of([watch]) == {}


def test_a_role_that_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "SILENT_S", 0.05)
    goes_on, stop = threading.Event(), threading.Event()
    role = Falling(0, stop)
    monkeypatch.setattr(role, "close", lambda drained: goes_on.wait(30))
    watch = StoreWatch({}, [role])
    watch.step()
    threads = [threading.Thread(target=role.run, args=(stop,))]
    threads[0].start()
    time.sleep(0.1)
    watch._due = 0.0
    with pytest.raises(Unavailable, match=r"falling has not come back from closing for over 0\.05 s"):
        watch.step()
    goes_on.set()
    threads[0].join(30)
    watch.step()
