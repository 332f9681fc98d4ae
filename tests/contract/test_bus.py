"""Topics and the commands for them, on a real broker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import typer
from confluent_kafka import murmur2
from confluent_kafka.admin import AdminClient, NewTopic
from support import topics as given
from support.topics import (
    DEADLINE_S,
    PARTITIONS,
    poll_until,
    send,
)
from typer.testing import CliRunner

from bus.clients import BusSettings, admin, consumer, producer
from bus.reading import Reader
from bus.topics import Topics
from ringwatch.commands import topics as commands
from ringwatch.errors import BadInput, Unavailable

pytestmark = pytest.mark.backends
bus, client, unmade, topics, closing = given.bus, given.client, given.unmade, given.topics, given.closing


def test_making_topics_again_changes_nothing_and_tells_what_differs(client: AdminClient, unmade: Topics) -> None:
    topics = unmade
    short = NewTopic(topics.decisions, num_partitions=2, replication_factor=1, config={"retention.ms": "86400000"})
    client.create_topics([short])[topics.decisions].result()
    first = topics.create(client, partitions=PARTITIONS)
    assert first.created == [name for name in topics.all() if name != topics.decisions]
    assert first.left == [topics.decisions]
    assert f"{topics.decisions} has 2 partitions, not 3" in first.differences
    assert f"{topics.decisions} has retention.ms 1 d, not 30 d" in first.differences
    again = topics.create(client, partitions=PARTITIONS)
    assert again.created == []
    assert again.left == list(topics.all())
    assert again.differences == first.differences


def test_what_is_missing_is_made(client: AdminClient, topics: Topics) -> None:
    client.delete_topics([topics.alerts])[topics.alerts].result()
    until = time.monotonic() + DEADLINE_S
    while topics.alerts in client.list_topics(timeout=10).topics and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(Unavailable, match=rf"Kafka has no topic {topics.alerts} \(`ringwatch topics create` makes"):
        topics.check(client)
    assert topics.create(client, partitions=PARTITIONS).created == [topics.alerts]
    assert topics.check(client) == PARTITIONS


def test_topics_made_by_two_at_once_are_made_once(bus: BusSettings, unmade: Topics) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(unmade.create(admin(bus)).created)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(unmade.all())


def test_keys_that_would_not_meet_are_refused(client: AdminClient, unmade: Topics) -> None:
    topics = unmade
    client.create_topics([NewTopic(topics.labels, num_partitions=5, replication_factor=1)])[topics.labels].result()
    assert f"{topics.labels} has 5 partitions, not 3" in topics.create(client, partitions=PARTITIONS).differences
    with pytest.raises(BadInput, match=f"different numbers of partitions: .*{topics.labels} 5"):
        topics.check(client)


def test_more_replicas_than_brokers_are_told_in_words(client: AdminClient, unmade: Topics) -> None:
    with pytest.raises(BadInput, match=r"cannot be made: .*replica"):
        unmade.create(client, replication=100)


def test_a_key_goes_where_javas_clients_put_it(bus: BusSettings, topics: Topics) -> None:
    placed: dict[bytes, int] = {}
    out = producer(bus)
    for n in range(50):
        out.produce(
            topics.events,
            b"x",
            f"default/u{n}".encode(),
            on_delivery=lambda _, m: placed.update({m.key(): m.partition()}),
        )
    out.flush(10)
    assert placed == {key: murmur2(key, PARTITIONS) for key in placed}
    assert len(set(placed.values())) == PARTITIONS
    assert len(placed) == 50


# -- commands


def test_the_commands_make_list_and_print(
    kafka_server: Any, unmade: Topics, closing: Callable[[Reader], Reader]
) -> None:
    app, runner = typer.Typer(), CliRunner()
    commands.register(app)
    unset = {name: None for name in os.environ if name.startswith("RINGWATCH_")}
    environment = {**unset, **kafka_server.settings, "RINGWATCH_TOPIC_PREFIX": unmade.prefix, "COLUMNS": "200"}

    def said(*args: str) -> str:
        found = runner.invoke(app, ["topics", *args], env=environment, catch_exceptions=False)
        assert found.exit_code == 0
        return found.stdout

    assert "`ringwatch topics create` makes them" in said("list")
    assert msgspec.json.decode(said("create", "--partitions", "2", "--json"))["created"] == list(unmade.all())
    assert said("create", "--partitions", "2") == "made: nothing, all were there\n"
    assert f"differs: {unmade.events} has 2 partitions, not 6" in said("create")
    bus = BusSettings.from_url(kafka_server.settings["RINGWATCH_BUS_URL"])
    send(bus, unmade.alerts, ["a", "b", "c"])
    reader = closing(Reader(consumer(bus, unmade.group("x")), [unmade.alerts]))
    assert len(poll_until(reader, 2)) == 2
    reader.commit()
    found = msgspec.json.decode(said("list", "--json"))
    assert {t["name"]: sum(t["end"]) for t in found["topics"]}[unmade.alerts] == 3
    assert found["groups"] == [
        {"name": unmade.group("x"), "state": "stable", "members": 1, "lag": {unmade.alerts: [1]}}
    ]
    shown = said("list")
    assert unmade.decisions in shown
    assert unmade.group("x") in shown
    assert said("schema", "ring").startswith("{")
    assert f"on {unmade.dlq}" in said("schema")
