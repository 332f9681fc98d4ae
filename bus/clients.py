"""Kafka clients, configured: where the brokers are, how they are spoken to."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from bus.failures import error_of, explained, refused
from bus.handshake import doubt
from ringwatch.begun import begun
from ringwatch.errors import BadInput, RingwatchError, StoreAway
from ringwatch.seldom import Seldom

log = logging.getLogger("ringwatch.kafka")
Protocol = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
PROTOCOLS: tuple[Protocol, ...] = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
DEFAULT_PORT = 9092
MAX_MESSAGE_BYTES = 2_000_000
"""Room for the longest record (RINGWATCH_MAX_RECORD_BYTES) with its features and reasons."""
_ASK_S, _PROBE_S, _LISTEN_S, _NAP_S = 10.0, 3.0, 0.5, 0.05
_CLOSE_S = 10.0
_HEARD = 50
"""Errors remembered while one waits for an answer."""
_Client = TypeVar("_Client", Consumer, Producer, AdminClient)
_GATHERED_BYTES = 524_288
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class BusSettings:
    """How the brokers are reached. Refused with BadInput when half set."""

    brokers: tuple[str, ...]
    """host:port"""
    protocol: Protocol = "plaintext"
    mechanism: Mechanism = "SCRAM-SHA-512"
    """Used with a sasl_ protocol only."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Authorities that the brokers' certificates are checked against; None: those of the system."""
    cert_file: Path | None = None
    """Certificate (chain) this client shows, PEM."""
    key_file: Path | None = None
    client_id: str = "ringwatch"

    @classmethod
    def from_url(cls, url: str, **more: Any) -> BusSettings:
        """`kafka://host:port,host2:port`; everything else by name. Raises BadInput."""
        return cls(brokers=_brokers(url), **more)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise BadInput(f"Kafka protocol is {self.protocol!r}", hint=f"one of {', '.join(PROTOCOLS)}")
        if not self.brokers:
            raise BadInput("no Kafka broker is named", hint="kafka://host:port,host2:port")
        self._check_sasl()
        self._check_files()

    def _check_sasl(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise BadInput(f"Kafka mechanism is {self.mechanism!r}", hint=f"one of {', '.join(MECHANISMS)}")
        given = {"username": self.username, "password": self.password}
        missing = [name for name, value in given.items() if not value]
        if self.protocol.startswith("sasl_") and missing:
            hint = "set both, or another protocol"
            raise BadInput(f"Kafka protocol {self.protocol} needs a {' and a '.join(missing)}", hint=hint)
        if not self.protocol.startswith("sasl_") and len(missing) < len(given):
            name = next(name for name in given if name not in missing)
            raise BadInput(
                f"a Kafka {name} is set and the protocol is {self.protocol}",
                hint="set the protocol to sasl_ssl (or sasl_plaintext on a trusted network)",
            )

    def _check_files(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            given, other = ("cert", "key") if self.key_file is None else ("key", "cert")
            raise BadInput(f"a Kafka client {given} is set without its {other}", hint="set both or neither")
        for name, path in (("ca", self.ca_file), ("cert", self.cert_file), ("key", self.key_file)):
            if path is None:
                continue
            if not self.protocol.endswith("ssl"):
                hint = "set the protocol to ssl or sasl_ssl"
                raise BadInput(f"a Kafka {name} file is set and the protocol is {self.protocol}", hint=hint)
            if not path.is_file():
                raise BadInput(f"the Kafka {name} file {path} is no file", hint="name a PEM file")

    def config(self) -> dict[str, Any]:
        """What every client needs, in librdkafka's names."""
        found: dict[str, Any] = {
            "bootstrap.servers": ",".join(self.brokers),
            "client.id": self.client_id,
            "security.protocol": self.protocol,
            # Each request leaves at once, not joined with the next one.
            "socket.nagle.disable": True,
            # A broker that is back is found within two seconds, not ten.
            "reconnect.backoff.max.ms": 2000,
            # What librdkafka has to say goes where everything else is logged.
            "logger": log,
            "error_cb": _told,
        }
        named = {
            "sasl.mechanism": self.mechanism if self.username else None,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        return found | {name: str(value) for name, value in named.items() if value is not None}


def _brokers(url: str) -> tuple[str, ...]:
    scheme, _, rest = url.partition("://")
    if scheme != "kafka" or not rest:
        raise BadInput(f"{_shown(url)!r} is no Kafka URL", hint="kafka://host:port,host2:port")
    if "@" in rest:
        raise BadInput("the Kafka URL holds credentials", hint="set them by their own settings: URLs end up in logs")
    found = []
    for part in rest.rstrip("/").split(","):
        match = _HOST.fullmatch(part.strip())
        port = None if match is None else int(match[1] or DEFAULT_PORT)
        if match is None or not 0 < int(port or 0) < 65_536:
            raise BadInput(f"{part!r} in the Kafka URL is no host:port", hint="kafka://host:port,host2:port")
        found.append(part.strip() if match[1] else f"{part.strip()}:{DEFAULT_PORT}")
    return tuple(found)


def _shown(url: str) -> str:
    """Without what stands before an @."""
    return url.rpartition("@")[2][:80] if "@" in url else url[:80]


def consumer(settings: BusSettings, group: str, *, gather_s: float = 0.0, more: Mapping[str, Any] = {}) -> Consumer:
    """A member of a group, not subscribed yet. It commits nothing by itself. Members are dynamic: a broker's restart fences static ones.

    With `gather_s` records gather at the brokers for so long, or until there are half a megabyte: for who writes many at a time, and
    spares the brokers an answer for every few records.
    """
    config = settings.config() | {
        "group.id": group,
        # Offsets are committed with what was made of the records, never by a timer.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A new group reads everything there is.
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        # Only partitions that move stop while members come and go.
        "partition.assignment.strategy": "cooperative-sticky",
        # A killed member's partitions move on after this; the broker's least is 6 s.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 1_500,
        # A role that has not polled for so long is stuck, and another member takes over; so it is with one that does not close. A
        # store may take over a minute to say that it cannot.
        "max.poll.interval.ms": 120_000,
        # The broker answers once so much is there, else after this: a resumed partition waits no longer than that.
        "fetch.min.bytes": _GATHERED_BYTES if gather_s else 1,
        "fetch.wait.max.ms": round(gather_s * 1e3) or 100,
        # The local queue is looked at again after this once it was full; a second is the default.
        "fetch.queue.backoff.ms": 5,
        # Back-pressure: no more is fetched ahead than this, of all partitions together.
        "queued.max.messages.kbytes": 16_384,
        "queued.min.messages": 10_000,
        "fetch.message.max.bytes": 1_048_576,
        # The end of a partition is told: with transactions, the last offset cannot be known otherwise.
        "enable.partition.eof": True,
    }
    return _made(Consumer, settings, config | dict(more))


def settled_offsets(settings: BusSettings, group: str) -> Callable[[list[TopicPartition]], list[TopicPartition]]:
    """What a group committed, offsets of transactions that have not ended aside."""

    def ask(parts: list[TopicPartition]) -> list[TopicPartition]:
        config = settings.config() | {"group.id": group, "isolation.level": "read_uncommitted"}
        client = _made(Consumer, settings, config)
        try:
            return client.committed(parts, timeout=_ASK_S)
        finally:
            let_go(client)

    return ask


def let_go(client: Consumer) -> None:
    """Close it, and leave its group. A close that does not end (librdkafka has such, its issues 4041 and 4884, when a
    rebalance is under way) is said and left to itself; the brokers take the member out after `max.poll.interval.ms` at the latest."""
    closing = begun(client.close, "close")
    try:
        closing.result(_CLOSE_S)
    except TimeoutError:
        log.warning("a consumer does not close within %g s: it is left to itself", _CLOSE_S)


def producer(
    settings: BusSettings,
    *,
    transactional_id: str | None = None,
    linger_ms: float = 0.0,
    more: Mapping[str, Any] = {},
) -> Producer:
    """An idempotent producer; with `transactional_id` for transactions (`bus/transactions.py` begins them).

    `transactional_id` must be the same after a restart: that is what fences the process before.
    """
    config = settings.config() | {
        # A retry is written once, in order, and by all replicas in sync before it counts.
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": linger_ms,
        "compression.type": "lz4",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        # The partition Java's clients choose for a key, so that whoever writes, a key stays in one partition.
        "partitioner": "murmur2_random",
        # A record that waits longer fails, and its transaction is aborted and done again.
        "delivery.timeout.ms": 10_000,
        "queue.buffering.max.kbytes": 262_144,
        # A transaction begun while the markers of the one before are being written is told to try again: after this, not
        # after the 100 ms that are the default (which were nine tenths of a transaction's time).
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 100,
    }
    if transactional_id is not None:
        config["transactional.id"] = transactional_id
        # After a kill without a restart, readers of committed records wait no longer than this.
        config["transaction.timeout.ms"] = 10_000
    return _made(Producer, settings, config | dict(more))


def admin(settings: BusSettings) -> AdminClient:
    return _made(AdminClient, settings, settings.config())


def reached(settings: BusSettings, *, timeout_s: float = 5.0) -> AdminClient:
    """An admin client of brokers that answer. Raises Denied when they do not let us in, Unavailable when none answers in time."""
    client, ask = _asking(settings)
    ask(timeout_s)
    return client


def probe(settings: BusSettings) -> Callable[[], None]:
    """Whether brokers answer, asked again and again of one client. What it gives raises as `reached` does where they do not."""
    _, ask = _asking(settings)
    return lambda: ask(_PROBE_S)


def _asking(settings: BusSettings) -> tuple[AdminClient, Callable[[float], None]]:
    """A client, and what asks for an answer within so many seconds; who is not let in hears of it at once. A client that got none is
    not asked again (`Reader` says why)."""
    heard: deque[KafkaError] = deque(maxlen=_HEARD)

    def made() -> AdminClient:
        return _made(AdminClient, settings, settings.config() | {"error_cb": heard.append})

    first = made()
    clients = [first]

    def ask(timeout_s: float) -> None:
        heard.clear()
        if not clients:
            clients.append(made())
        client = clients[0]
        until, listen_s = monotonic() + timeout_s, _LISTEN_S
        while True:
            try:
                client.list_topics(timeout=max(0.0, min(listen_s, until - monotonic())))
            except KafkaException as error:
                client.poll(0)
                told = [e for e in list(heard) if e.code() != KafkaError._ALL_BROKERS_DOWN]
                telling = next((e for e in told if refused(e)), None)
                if telling is not None or monotonic() > until:
                    clients.clear()
                    raise _unreached(settings, telling or (told or [error_of(error)])[-1]) from None
                listen_s *= 2  # brokers that are slow to answer must have the time
                sleep(_NAP_S)
            else:
                return

    return first, ask


def _unreached(settings: BusSettings, error: KafkaError) -> RingwatchError:
    what = f"Kafka at {', '.join(settings.brokers)} cannot be reached"
    if doubted := doubt(error.str(), settings.ca_file) if error.code() == KafkaError._SSL else "":
        hint = "it must be in date, for the name in the address, and signed by an authority in RINGWATCH_KAFKA_CA_FILE"
        return StoreAway(f"{what}: {doubted}", hint=hint)
    found = explained(error, what)
    if type(found) is StoreAway and not refused(error):
        found.hint = f"are the brokers up, reachable from here, and spoken to as RINGWATCH_KAFKA_SECURITY says: {settings.protocol}?"
    return found


def _made(kind: Callable[[dict[str, Any]], _Client], settings: BusSettings, config: dict[str, Any]) -> _Client:
    """Raises BadInput for files and values that librdkafka does not take."""
    try:
        return kind(config)
    except KafkaException as error:
        found = explained(error, "Kafka cannot be spoken to")
    files = {"ca": settings.ca_file, "certificate": settings.cert_file, "key": settings.key_file}
    for name, path in files.items():
        found.message = found.message.replace(f"ssl.{name}.location", f"the {name} file {path}")
    hint = "PEM files are needed; the key is that of the certificate, without a password on it"
    raise BadInput(found.message, hint=hint if "file" in found.message else found.hint)


log.addFilter(Seldom())


def _told(error: KafkaError) -> None:
    """What goes on in the background; calls that fail raise by themselves."""
    log.warning("%s: %s", error.name(), error.str())
