"""How Kafka is reached: what is taken, what is refused, and what its errors are called."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from bus import clients, reading
from bus.clients import BusSettings, consumer, producer, reached
from bus.failures import explained
from bus.topics import KEYED, NAMES, SINGLE, Topics, config_of
from ringwatch.errors import BadInput, Conflict, Corrupt, ServerDenied, StoreAway, Unavailable


def test_brokers_come_from_the_url() -> None:
    bus = BusSettings.from_url("kafka://one:9093,two,[::1]:9094/")
    assert bus.brokers == ("one:9093", "two:9092", "[::1]:9094")
    assert bus.config()["bootstrap.servers"] == "one:9093,two:9092,[::1]:9094"
    assert "sasl.mechanism" not in bus.config()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h:1", "is no Kafka URL"),
        ("kafka:h:1", "is no Kafka URL"),
        ("kafka://", "is no Kafka URL"),
        ("kafka://h:0", "'h:0' in the Kafka URL is no host:port"),
        ("kafka://h:70000", "is no host:port"),
        ("kafka://a:1,,b:2", "'' in the Kafka URL"),
        ("kafka://h:1/topic", "is no host:port"),
    ],
)
def test_another_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        BusSettings.from_url(url)


@pytest.mark.parametrize("url", ["kafka://me:s3cret@h:1", "kafak://me:s3cret@h:1"])
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadInput) as told:
        BusSettings.from_url(url)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"protocol": "tls"}, "Kafka protocol is 'tls' \\(one of plaintext, ssl, sasl_plaintext, sasl_ssl"),
        ({"protocol": "sasl_ssl"}, "sasl_ssl needs a username and a password"),
        ({"protocol": "sasl_plaintext", "username": "me"}, "sasl_plaintext needs a password"),
        ({"protocol": "sasl_plaintext", "password": "s3cret"}, "needs a username"),
        ({"username": "me", "password": "s3cret"}, "a Kafka username is set and the protocol is plaintext"),
        ({"protocol": "ssl", "password": "s3cret"}, "a Kafka password is set and the protocol is ssl"),
        ({"mechanism": "GSSAPI"}, "Kafka mechanism is 'GSSAPI' \\(one of PLAIN"),
        ({"protocol": "ssl", "cert_file": Path("c.pem")}, "client cert is set without its key"),
        ({"protocol": "ssl", "key_file": Path("k.pem")}, "client key is set without its cert"),
        ({"ca_file": Path("ca.pem")}, "a Kafka ca file is set and the protocol is plaintext"),
        ({"protocol": "ssl", "ca_file": Path("no/such.pem")}, "the Kafka ca file no/such.pem is no file"),
    ],
)
def test_what_is_half_set_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as found:
        BusSettings.from_url("kafka://h:1", **more)
    assert "s3cret" not in str(found.value)


def test_whole_settings_reach_the_clients_and_the_password_is_not_shown(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    bus = BusSettings.from_url(
        "kafka://h:1", protocol="sasl_ssl", mechanism="SCRAM-SHA-256", username="me", password="s3cret", ca_file=ca
    )
    config = bus.config()
    assert config["security.protocol"] == "sasl_ssl"
    assert (config["sasl.mechanism"], config["sasl.username"], config["sasl.password"]) == (
        "SCRAM-SHA-256",
        "me",
        "s3cret",
    )
    assert config["ssl.ca.location"] == str(ca)
    assert "s3cret" not in repr(bus)


def test_clients_are_made_without_a_broker() -> None:
    """librdkafka knows every name and value that is set."""
    bus = BusSettings.from_url("kafka://127.0.0.1:1")
    consumer(bus, "g").close()
    producer(bus)
    producer(bus, transactional_id="t", linger_ms=0.5)


def test_no_broker_is_told_in_time() -> None:
    bus = BusSettings.from_url("kafka://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"Kafka at 127\.0\.0\.1:1 cannot be reached"):
        reached(bus, timeout_s=0.5)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (KafkaError._FENCED, Conflict, "another process took over"),
        (KafkaError.PRODUCER_FENCED, Conflict, "another process took over"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ServerDenied, "access lists"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, ServerDenied, "user, password"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, StoreAway, "ringwatch topics create"),
        (KafkaError.MSG_SIZE_TOO_LARGE, BadInput, "2 MB"),
        (KafkaError._BAD_MSG, Corrupt, "gone or damaged"),
        (KafkaError._TRANSPORT, StoreAway, "are the brokers up"),
        (KafkaError.ILLEGAL_GENERATION, StoreAway, "are the brokers up"),
    ],
)
def test_errors_are_ours_and_in_words(code: int, kind: type[Exception], told: str) -> None:
    found = explained(KafkaException(KafkaError(code)), "x cannot be done")
    assert type(found) is kind
    assert str(found).startswith("x cannot be done: ")
    assert told in str(found)


def test_an_old_epoch_after_a_time_out_is_no_other_process() -> None:
    timed_out = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "timed out", txn_requires_abort=True)
    assert type(explained(timed_out, "x")) is StoreAway


def test_topics_are_named_and_only_rings_are_compacted() -> None:
    topics = Topics("shop")
    assert topics.all() == tuple(f"shop.{kind}" for kind in NAMES)
    assert (topics.events, topics.dlq, topics.group("scorer")) == ("shop.events", "shop.dlq", "shop.scorer")
    assert {kind for kind in NAMES if config_of(kind)["cleanup.policy"] == "compact"} == {"rings"}
    assert set(KEYED) | set(SINGLE) == set(NAMES)
    counts = {t.topic: t.num_partitions for t in topics.wanted(partitions=9)}
    assert {topics.name(kind): counts[topics.name(kind)] for kind in NAMES} == {
        topics.name(kind): 9 if kind in KEYED else 1 for kind in NAMES
    }
    assert config_of("events", replication=3)["min.insync.replicas"] == "2"
    with pytest.raises(BadInput, match="'event' is no topic"):
        topics.name("event")


def test_a_consumer_that_does_not_close_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clients, "_CLOSE_S", 0.05)
    goes_on = threading.Event()

    class Hanging:
        def close(self) -> None:
            goes_on.wait(30)

    with caplog.at_level(logging.WARNING):
        clients.let_go(Hanging())  # type: ignore[arg-type]
    goes_on.set()
    assert "a consumer does not close within 0.05 s" in caplog.text


def test_a_client_whom_no_broker_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it knew some before: librdkafka may forget all of them, and would wait for good."""
    for name in ("_QUIET_S", "_DEAF_S", "_ASK_S"):
        monkeypatch.setattr(reading, name, 0.1)
    reader = reading.Reader(consumer(BusSettings.from_url("kafka://127.0.0.1:1"), "g"), ["t"])

    def listen() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            reader.poll(10, 0.02)

    with pytest.raises(StoreAway, match="no broker answers this client"):
        listen()
    reader.close()


def test_brokers_that_answered_nobody_are_asked_by_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    of = clients.AdminClient

    def counted(config: dict[str, object]) -> object:
        made.append(config)
        return of(config)

    monkeypatch.setattr(clients, "AdminClient", counted)
    monkeypatch.setattr(clients, "_PROBE_S", 0.2)
    ask = clients.probe(BusSettings.from_url("kafka://127.0.0.1:1"))
    for n in (1, 2):
        with pytest.raises(StoreAway, match="cannot be reached"):
            ask()
        assert len(made) == n
