"""Kafka that asks who one is: users, certificates, access lists; who is not let in is told why, and never the password."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from support.certificates import Authority, Certificate
from support.cli import ringwatch
from support.secure import HOST, SecureKafka, secret_file, started
from support.topics import DEADLINE_S, poll_until, send, wait_until

from bus.clients import BusSettings, admin, consumer, probe, producer, reached, settled_offsets
from bus.lag import group_states
from bus.reading import Reader
from bus.topics import Topics
from bus.transactions import Record, Transactor
from ringwatch.access import open_bus
from ringwatch.errors import BadInput, RingwatchError, ServerDenied, StoreAway, Unavailable
from ringwatch.settings import Settings
from servers.launcher import Servers

pytestmark = pytest.mark.backends
USER, UNLISTED = "ringwatch", "somebody"
TOPIC, GROUP, TRANSACTIONS = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
DOCUMENTED = {
    TOPIC: (AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE, AclOperation.DESCRIBE_CONFIGS),
    GROUP: (AclOperation.READ,),
    TRANSACTIONS: (AclOperation.WRITE, AclOperation.DESCRIBE),
}
"""The access lists of `docs/kafka.md` for what begins with `fraud.`."""
WAYS: dict[str, dict[str, Any]] = {
    "SCRAM over TLS": {"port": "users", "security": "sasl_ssl", "username": USER},
    "PLAIN over TLS": {"port": "users", "security": "sasl_ssl", "username": USER, "sasl_mechanism": "PLAIN"},
    "certificates": {"port": "both", "security": "ssl"},
    "SCRAM without TLS": {
        "port": "open_users",
        "security": "sasl_plaintext",
        "username": USER,
        "sasl_mechanism": "SCRAM-SHA-256",
    },
}


@dataclass(frozen=True)
class Secured:
    """A broker, and what leads to it."""

    ports: Mapping[str, int]
    folder: Path
    authority: Authority
    stranger: Authority
    """Nobody trusts it."""
    ours: Certificate
    password: str
    wrong: str

    def settings(self, way: str, **changes: Any) -> Settings:
        """As that way goes, with changes: settings without their `kafka_`, `host`, `port`, `password`; None takes one away."""
        files = {"ca_file": self.authority.cert, "cert_file": self.ours.cert, "key_file": self.ours.key}
        known = {"certificates": files, "SCRAM without TLS": {}}.get(way, {"ca_file": self.authority.cert})
        chosen = {"host": HOST, "password": self.password, **WAYS[way], **known, **changes}
        place, password = f"{chosen.pop('host')}:{self.ports[chosen.pop('port')]}", chosen.pop("password")
        if chosen.get("username"):
            chosen["password_file"] = secret_file(self.folder, f"password.{token_hex(4)}", password)
        given = {f"kafka_{name}": value for name, value in chosen.items() if value is not None}
        return Settings(bus_url=f"kafka://{place}", **given)

    def root(self) -> BusSettings:
        """Who may do all."""
        return BusSettings.from_url(f"kafka://{HOST}:{self.ports['kafka']}")


@pytest.fixture(scope="module")
def secured(own_servers: Callable[..., Servers], tmp_path_factory: pytest.TempPathFactory) -> Secured:
    folder, password = tmp_path_factory.mktemp("kafka"), f"right-{token_hex(8)}"
    authority = Authority(folder)
    _, ports = started(own_servers, SecureKafka(authority, USER, password))
    stranger, ours = Authority(folder, "stranger"), authority.issue(USER)
    found = Secured(ports, folder, authority, stranger, ours, password, f"wrong-{token_hex(8)}")
    root = admin(found.root())
    doing = [*root.create_acls(access_lists()).values()]
    for how in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        known = ScramCredentialInfo(how, 4096)
        users = [UserScramCredentialUpsertion(name, known, password.encode()) for name in (USER, UNLISTED)]
        doing += root.alter_user_scram_credentials(users).values()
    for done in doing:
        done.result(DEADLINE_S)
    for way in ("SCRAM without TLS", "SCRAM over TLS"):
        bus = open_bus(found.settings(way))
        wait_until(lambda: not isinstance(why_not(bus), ServerDenied))  # noqa: B023
    return found


def access_lists() -> list[AclBinding]:
    named, only, allow = ResourcePatternType.PREFIXED, ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    rows = [(of, "fraud.", named, operation) for of, operations in DOCUMENTED.items() for operation in operations]
    rows.append((ResourceType.BROKER, "kafka-cluster", only, AclOperation.IDEMPOTENT_WRITE))
    principals = (f"User:{USER}", f"User:CN={USER}")
    return [AclBinding(*row[:3], who, "*", row[3], allow) for row in rows for who in principals]


def why_not(bus: BusSettings) -> RingwatchError | None:
    """Why brokers do not let us in; None when they do."""
    try:
        reached(bus, timeout_s=DEADLINE_S)
    except RingwatchError as error:
        return error
    return None


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_goes_round_with_the_access_lists_of_the_documents(secured: Secured, way: str) -> None:
    bus, topics = open_bus(secured.settings(way)), Topics(f"fraud.{way.replace(' ', '-')}")
    client = reached(bus, timeout_s=DEADLINE_S)
    assert topics.create(client, partitions=1).created == list(topics.all())
    again = topics.create(client, partitions=1)
    assert (again.created, again.differences) == ([], [])
    send(bus, topics.events, [way])
    group = topics.group("scorer")
    reader = Reader(consumer(bus, group), [topics.events], None, settled_offsets(bus, group))
    assert poll_until(reader, 1) == [way]
    transactor = Transactor.of(bus, f"{group}.0")
    transactor.start()
    offsets = reader.offsets()
    transactor.write([Record(topics.decisions, b"k", f"decided {way}".encode())], offsets, reader.group())
    reader.done(offsets)
    following = Reader(consumer(bus, topics.group("ledger-writer")), [topics.decisions])
    assert poll_until(following, 1) == [f"decided {way}"]
    following.commit()
    following.close()
    reader.close()
    assert {state.name for state in group_states(client, topics)} == {group, topics.group("ledger-writer")}


PASSWORD = "check user, password and mechanism: RINGWATCH_KAFKA_USERNAME, RINGWATCH_KAFKA_PASSWORD_FILE"
OURS = "the brokers want a certificate signed by an authority they know: RINGWATCH_KAFKA_CERT_FILE, RINGWATCH_KAFKA_KEY_FILE"
THEIRS = r"127\.0\.0\.1:\d+ shows a certificate that is not taken: .+signed by an authority in RINGWATCH_KAFKA_CA_FILE"
NOT_LET_IN: dict[str, tuple[type[RingwatchError], str, str, Callable[[Secured], dict[str, Any]]]] = {
    "a wrong password": (ServerDenied, PASSWORD, "SCRAM over TLS", lambda s: {"password": s.wrong}),
    "a wrong password by PLAIN": (ServerDenied, PASSWORD, "PLAIN over TLS", lambda s: {"password": s.wrong}),
    "a wrong password without TLS": (ServerDenied, PASSWORD, "SCRAM without TLS", lambda s: {"password": s.wrong}),
    "an unknown user": (ServerDenied, PASSWORD, "SCRAM over TLS", lambda s: {"username": "nobody"}),
    "a mechanism that is not offered": (
        ServerDenied, f"PLAIN,SCRAM-SHA-512.*{PASSWORD}", "SCRAM over TLS", lambda s: {"sasl_mechanism": "SCRAM-SHA-256"}
    ),
    "no certificate of ours": (ServerDenied, OURS, "certificates", lambda s: {"cert_file": None, "key_file": None}),
    "a certificate they do not know": (ServerDenied, OURS, "certificates", lambda s: strange(s)),
    "another authority": (StoreAway, THEIRS, "SCRAM over TLS", lambda s: {"ca_file": s.stranger.cert}),
    "the authorities of the system": (StoreAway, THEIRS, "certificates", lambda s: {"ca_file": None}),
    "a name that is not in their certificate": (
        StoreAway, "not valid for 'localhost'.*for the name in the address", "SCRAM over TLS", lambda s: {"host": "localhost"}
    ),
}  # fmt: skip


def strange(secured: Secured) -> dict[str, Path]:
    made = secured.stranger.issue("stranger-of-ours")
    return {"cert_file": made.cert, "key_file": made.key}


@pytest.mark.parametrize("case", NOT_LET_IN)
def test_who_is_not_let_in_is_told_why(secured: Secured, case: str, caplog: pytest.LogCaptureFixture) -> None:
    kind, told, way, changes = NOT_LET_IN[case]
    settings = secured.settings(way, **changes(secured))
    bus = open_bus(settings)
    with caplog.at_level(logging.DEBUG):
        error = why_not(bus)
    assert type(error) is kind, error
    assert re.search(told, str(error))
    for text in (str(error), repr(error), repr(bus), repr(settings), caplog.text):
        assert secured.password not in text
        assert secured.wrong not in text


@pytest.mark.parametrize(
    ("way", "port", "security"),
    [("SCRAM over TLS", "users", "plaintext"), ("certificates", "kafka", "ssl"), ("certificates", "users", "ssl")],
)
def test_another_protocol_than_theirs_is_told(secured: Secured, way: str, port: str, security: str) -> None:
    without = {"username": None, "ca_file": None} if security == "plaintext" else {}
    bus = open_bus(secured.settings(way, port=port, security=security, **without))
    with pytest.raises(Unavailable, match=f"spoken to as RINGWATCH_KAFKA_SECURITY says: {security}"):
        reached(bus, timeout_s=1.0)


def test_readiness_says_why_too(secured: Secured) -> None:
    wrong = probe(open_bus(secured.settings("SCRAM over TLS", password=secured.wrong)))
    right = probe(open_bus(secured.settings("certificates")))
    wait_until(lambda: PASSWORD in answer(wrong))
    wait_until(lambda: answer(right) == "")


def answer(asked: Callable[[], None]) -> str:
    try:
        asked()
    except (ServerDenied, Unavailable) as error:
        return str(error)
    return ""


def test_who_is_on_no_access_list_may_do_nothing_and_is_told(secured: Secured) -> None:
    topics = Topics("fraud.listed")
    topics.create(admin(secured.root()), partitions=1)
    bus = open_bus(secured.settings("SCRAM over TLS", username=UNLISTED))
    with pytest.raises(ServerDenied, match=r"transactional id cannot be taken.*access lists"):
        Transactor.of(bus, topics.group("scorer"), turns=1).start()
    failed: list[str] = []
    out = producer(bus, more={"on_delivery": lambda error, _: failed.append(error.name())})
    out.produce(topics.events, b"e")
    out.flush(DEADLINE_S)
    assert failed == ["TOPIC_AUTHORIZATION_FAILED"]
    reader = Reader(consumer(bus, topics.group("scorer")), [topics.events])
    with pytest.raises(ServerDenied, match="access lists"):
        wait_until(lambda: bool(reader.poll(1, 0.1)))
    reader.close()
    with pytest.raises(ServerDenied, match=r"topic fraud\.mine\.\w+ cannot be made.*access lists"):
        Topics("fraud.mine").create(reached(bus, timeout_s=DEADLINE_S), partitions=1)


def test_the_command_gets_in_and_else_says_why(secured: Secured) -> None:
    given = secured.settings("SCRAM over TLS").model_dump(exclude_unset=True)
    done = ringwatch("topics", "list", "--json", **given)
    assert (done.code, done.err) == (0, "")
    given["kafka_password_file"] = secret_file(secured.folder, "wrong", secured.wrong)
    done = ringwatch("topics", "list", **given)
    assert done.code != 0
    assert "RINGWATCH_KAFKA_PASSWORD_FILE" in done.err
    assert secured.wrong not in done.out + done.err


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, other, none, locked = (
        authority.issue("ours"),
        authority.issue("other"),
        tmp_path / "none",
        tmp_path / "locked",
    )
    none.write_text("no certificate")
    lock = ["openssl", "pkcs8", "-topk8", "-in", ours.key, "-out", locked, "-passout", "pass:locked"]
    subprocess.run(lock, check=True, capture_output=True, timeout=60)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ca_file": none}, f"the ca file {none} failed.*PEM"),
        ({"cert_file": ours.cert, "key_file": other.key}, f"the key file {other.key} failed.*that of the certificate"),
        ({"cert_file": ours.cert, "key_file": locked}, f"the key file {locked} failed.*without a password"),
        ({"cert_file": none, "key_file": ours.key}, f"the certificate file {none} failed"),
    ]
    for files, told in wrong:
        bus = BusSettings.from_url(f"kafka://{HOST}:1", protocol="ssl", **files)
        for make in (admin, producer, reached, lambda b: consumer(b, "g")):
            with pytest.raises(BadInput, match=told):
                make(bus)
