"""Processes of Ringwatch on real servers, and what must be in every store after a stream, however it was disturbed.

with Cluster(servers, folder, events) as cluster: start roles, send events, break things, `await_all`, `check_*`
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import neo4j
import numpy as np
import psycopg
import redis
from confluent_kafka import KafkaError, Producer, TopicPartition
from psycopg import sql
from support.expected import Expected

from bus.clients import BusSettings, admin, consumer, producer
from bus.messages import AlertMessage, DeadLetter, DecisionMessage, decode_dead_letter
from bus.topics import Topics
from features.codec import FeatureCodec
from features.packed import unpack
from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from rings.as_of import as_of
from rings.entry import RingEntry
from ringwatch.settings import Settings
from ringwatch.shared_wiring import postgres_access
from ringwatch.wiring import personal_key
from roles.logs import DecisionsLog
from roles.retelling import AlertsLog
from servers.launcher import Servers

WHOLE = ("api,scorer,ring-keeper", "ledger-writer", "graph-writer")
"""One scorer with the rings in step, each writer apart."""
ONE = "api,scorer,ring-keeper,ledger-writer,graph-writer"
"""Everything in one process."""
READY_S, ALL_S = 90.0, 150.0


class Cluster:
    """A tenant, a database, topics and processes of its own on servers that the test may break."""

    def __init__(self, servers: Servers, folder: Path, *, partitions: int = 1, **more: object) -> None:
        self.servers, self.folder = servers, folder
        self.tenant = f"t{uuid.uuid4().hex[:8]}"
        self.topics = Topics(f"f{uuid.uuid4().hex[:8]}")
        self.partitions = partitions
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self._more = {f"RINGWATCH_{name.upper()}": str(value) for name, value in more.items()}
        self._database = f"rw_{uuid.uuid4().hex[:8]}"
        self._codec = FeatureCodec(FeatureSchema())

    def __enter__(self) -> Self:
        self.servers.up()
        url = self.servers.settings["RINGWATCH_LEDGER_URL"]
        with psycopg.connect(url, password=self._secret("POSTGRES"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))
        self.redis().flushall()
        self.topics.create(admin(self.bus), partitions=self.partitions)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RINGWATCH_")},
            **self.servers.settings,
            "RINGWATCH_TENANT": self.tenant,
            "RINGWATCH_TOPIC_PREFIX": self.topics.prefix,
            "RINGWATCH_LEDGER_URL": urlunsplit(urlsplit(url)._replace(path=f"/{self._database}")),
            "RINGWATCH_SNAPSHOT_INTERVAL_S": "2",
            **self._more,
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for name, port in self.ports.items():
                known = {k: v for k, v in self._metric(port, "ringwatch_(?:lag|role)").items() if "seconds" not in k}
                print(f"--- {name}: {known}")
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(30)
        if error is not None:
            for path in sorted(self.folder.glob("*.out")):
                print(f"--- {path.name}\n{path.read_text()[-3000:]}")

    def _secret(self, server: str) -> str:
        return Path(self.servers.settings[f"RINGWATCH_{server}_PASSWORD_FILE"]).read_text().strip()

    @property
    def bus(self) -> BusSettings:
        return BusSettings.from_url(self.servers.settings["RINGWATCH_BUS_URL"])

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.servers.settings["RINGWATCH_STATE_URL"], password=self._secret("REDIS"), socket_timeout=20
        )

    def settings(self) -> Settings:
        given = {k.removeprefix("RINGWATCH_").lower(): v for k, v in self.env.items() if k.startswith("RINGWATCH_")}
        return Settings(**given)  # type: ignore[arg-type]

    # -- processes

    def start(self, *roles: str, instance: str = "0", wait: bool = True) -> None:
        """A process for each set of roles (with commas)."""
        for some in roles:
            name = f"{some}/{instance}"
            data = self.folder / f"data-{some.replace(',', '-')}-{instance}"
            out = self.folder / f"{some.replace(',', '-')}-{instance}.out"
            command = [
                sys.executable,
                "-m",
                "ringwatch.cli",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(data),
                "--role",
                some,
            ]
            with out.open("ab") as file:
                begin = file.tell()
                self.processes[name] = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, env={**self.env, "RINGWATCH_INSTANCE": instance}
                )
            self.ports[name] = self._port(name, out, begin)
        if wait:
            self.await_ready()

    def _port(self, name: str, out: Path, begin: int) -> int:
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", out.read_bytes()[begin:])
            if found is not None:
                return int(found[1])
            assert self.processes[name].poll() is None, out.read_text()
            time.sleep(0.05)
        raise AssertionError(f"{name} says nothing: {out.read_text()}")

    def await_ready(self) -> None:
        for name, port in self.ports.items():
            self.eventually(lambda port=port: self.ready_now(port), READY_S, f"{name} is ready")

    @staticmethod
    def ready_now(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def kill(self, roles: str, *, instance: str = "0", number: int = signal.SIGKILL) -> None:
        name = f"{roles}/{instance}"
        process = self.processes.pop(name)
        self.ports.pop(name)
        process.send_signal(number)
        process.wait(60)

    def score(self, line: bytes, roles: str = WHOLE[0], instance: str = "0") -> tuple[int, dict[str, Any]]:
        """POST an event."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[f'{roles}/{instance}']}/v1/score", line, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    # -- the bus

    def send(self, lines: Sequence[bytes], rate: float | None = None) -> None:
        """Events to their topic, keyed. At a rate a second each waits until the brokers have it, and is sent again if they have not:
        so the order stays, whatever happens to them."""
        client = producer(self.bus)
        failed: list[KafkaError] = []
        began = time.monotonic()
        for i, line in enumerate(lines):
            if rate is not None:
                time.sleep(max(0.0, began + i / rate - time.monotonic()))
            self._produce(client, line, failed)
            while rate is not None:
                client.flush(15)
                if not failed:
                    break
                failed.clear()
                client = producer(self.bus)
                self._produce(client, line, failed)
        assert client.flush(60) == 0
        assert not failed

    def put(self, topic: str, records: Sequence[bytes]) -> None:
        """As anybody could who may write to the topic."""
        client = producer(self.bus)
        for raw in records:
            client.produce(topic, raw, b"anybody")
        assert client.flush(60) == 0

    def _produce(self, client: Producer, line: bytes, failed: list[KafkaError]) -> None:
        def told(error: KafkaError | None, message: object) -> None:
            if error is not None:
                failed.append(error)

        client.produce(self.topics.events, line, self._key(line), on_delivery=told)
        client.poll(0)

    def _key(self, line: bytes) -> bytes:
        found = re.search(rb'"(?:user|session|card|device|sku)":"([^"]+)"', line)
        return self.tenant.encode() + b"/" + (found[1] if found else b"poison")

    def read(self, topic: str) -> list[bytes]:
        """All committed records, partition by partition."""
        client = consumer(self.bus, f"test.{uuid.uuid4().hex}", more={"enable.partition.eof": True})
        parts = sorted(client.list_topics(topic, 20).topics[topic].partitions)
        client.assign([TopicPartition(topic, p, 0) for p in parts])
        found, ended = [], set()
        until = time.monotonic() + 60
        while len(ended) < len(parts) and time.monotonic() < until:
            for message in client.consume(1000, 0.2):
                if message.error() is not None:
                    ended.add(message.partition())
                else:
                    found.append(message.value() or b"")
        client.close()
        return found

    def decisions(self) -> list[DecisionMessage]:
        log = DecisionsLog(self.bus, self.topics.decisions)
        return [m for _, _, m in log.read({}) if isinstance(m, DecisionMessage)]

    def dead_letters(self) -> list[DeadLetter]:
        return [decode_dead_letter(raw) for raw in self.read(self.topics.dlq)]

    def alert_messages(self) -> list[AlertMessage]:
        return [m for _, _, m in AlertsLog(self.bus, self.topics.alerts).read({})]

    # -- waiting

    @staticmethod
    def eventually(holds: Callable[[], bool], within_s: float, what: str) -> None:
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, f"not within {within_s:g} s: {what}"
            time.sleep(0.3)

    def decided(self) -> int:
        """Decisions in the ledger; -1 where it is away or not made yet."""
        url = self.env["RINGWATCH_LEDGER_URL"]
        try:
            with psycopg.connect(url, password=self._secret("POSTGRES"), connect_timeout=5) as connection:
                row = connection.execute("SELECT count(*) FROM assessments").fetchone()
        except psycopg.Error:
            return -1
        return -1 if row is None else int(row[0])

    def ledger(self) -> SqlLedger:
        settings = self.settings()
        return SqlLedger(settings.ledger_url, FeatureSchema(), postgres_access(settings), personal_key(settings))

    def await_all(self, events: int) -> None:
        """Until every store has them."""
        self.eventually(lambda: self.decided() >= events, ALL_S, f"{events} decisions in the ledger")
        self.eventually(self._graph_caught_up, ALL_S, "the graph has all decisions")

    def _graph_caught_up(self) -> bool:
        ends = DecisionsLog(self.bus, self.topics.decisions).ends()
        lags = [self._metric(port, "ringwatch_lag_records") for name, port in self.ports.items() if "writer" in name]
        return bool(ends) and all(lag and max(lag.values()) <= 2 for lag in lags)

    @staticmethod
    def _metric(port: int, name: str) -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        return {k: float(v) for k, v in re.findall(rf"^({name}\S*) (\S+)$", text, re.M)}

    # -- what must hold

    def check_decisions(self, want: Expected, *, exact: bool = True) -> None:
        """One decision an event, on the topic and in the ledger; with `exact` the same to the bit."""
        ids = [e.event_id for e in want.decisions.events]
        sent = self.decisions()
        told = Counter(m.event_id for m in sent)
        twice = [(m.event_id, m.origin, m.decided_us) for m in sent if told[m.event_id] > 1]
        assert told == Counter(ids), f"lacking: {Counter(ids) - told}; twice: {twice}"
        stored = self.ledger().assessments(self.tenant, ids)
        assert set(stored) == set(ids)
        if not exact:
            return
        names = want.decisions.schema.names
        for row, event in enumerate(want.decisions.events):
            found = stored[event.event_id]
            made = want.decisions.assessment(row)
            known = {n: float(v) for n, v in zip(names, want.decisions.features[row], strict=True) if v == v}
            assert found.event == event
            assert found.features == known, event.event_id
            assert found.assessment.score == made.score, event.event_id
            assert found.assessment.scores == made.scores, event.event_id
            assert found.assessment.reasons == made.reasons, event.event_id
            assert (found.assessment.ring, found.assessment.patterns) == (made.ring, made.patterns)

    def check_alerts(self, want: Expected) -> None:
        last = {m.alert_id: m.alert for m in self.alert_messages()}
        assert last == want.alerts
        self.eventually(
            lambda: {a.alert_id: a for a in self.ledger().alerts(tenant=self.tenant, limit=100_000)} == want.alerts,
            30.0, "the ledger has the alerts",
        )  # fmt: skip

    def check_state(self, want: Expected) -> None:
        """Every record in Redis, bit by bit."""
        client = self.redis()
        begin = f"rw:{{{self.tenant}}}:s"
        names = [n for n in client.scan_iter(match=f"{begin}*", count=5000) if len(n) == len(begin) + 8]
        records, _ = unpack([v for v in client.mget(names) if v is not None])
        wanted, _, _ = want.state.contents()
        records, wanted = records[np.argsort(records["key"])], wanted[np.argsort(wanted["key"])]
        assert records["key"].tolist() == wanted["key"].tolist()
        differ = [name for name in records.dtype.names or () if not _same(records[name], wanted[name])]
        assert not differ

    def check_graph(self, want: Expected, *, exact: bool = True) -> None:
        """Entities and links: first and last seen, counts and amounts; with `exact` also the events alerted, which follow from scores."""
        kept = slice(None) if exact else slice(0, 4)
        entities = {(e.ref.kind, e.ref.id): (e.first_seen_us, e.last_seen_us, e.events, e.amount_minor, e.alerts)[kept]
                    for e in want.graph.entities}  # fmt: skip
        links = {
            (x.user.id, x.other.kind, x.other.id): (x.first_seen_us, x.last_seen_us, x.events, x.amount_minor, x.fails)
            for x in want.graph.links
        }
        self.eventually(lambda: self._links().keys() == links.keys(), 60.0, "the graph has all links")
        assert {key: values[kept] for key, values in self._entities().items()} == entities
        assert self._links() == links

    def _cypher(self, text: str) -> list[list[Any]]:
        settings = self.servers.settings
        auth = settings["RINGWATCH_NEO4J_USERNAME"], self._secret("NEO4J")
        with neo4j.GraphDatabase.driver(settings["RINGWATCH_GRAPH_URL"], auth=auth) as driver:
            return [list(r.values()) for r in driver.execute_query(text, tenant=self.tenant).records]

    def _entities(self) -> dict[tuple[str, str], tuple[int, ...]]:
        rows = self._cypher(
            "MATCH (e:Entity {tenant: $tenant}) WHERE e.first_seen IS NOT NULL "
            "RETURN e.kind, e.id, e.first_seen, e.last_seen, e.events, e.amount, e.alerts"
        )
        return {(kind, id_): tuple(rest) for kind, id_, *rest in rows}

    def _links(self) -> dict[tuple[str, str, str], tuple[int, ...]]:
        rows = self._cypher(
            "MATCH (u:User {tenant: $tenant})-[l]->(e:Entity) WHERE l.first_seen IS NOT NULL "
            "RETURN u.id, e.kind, e.id, l.first_seen, l.last_seen, l.events, l.amount, l.fails"
        )
        return {(user, kind, id_): tuple(rest) for user, kind, id_, *rest in rows}

    def check_rings(self, want: Expected) -> None:
        """The rings as they are in the end: in the ledger, and as nodes with their members."""

        def kept() -> bool:
            found = self.ledger().rings(self.tenant, limit=10_000, least_users=0)
            then = {one[0].ring_id: as_of(one) for one in self.histories({r.ring_id for r in found})}
            replayed = {ring_id: len(ring.members) for ring_id, ring in then.items() if ring.members and ring.complete}
            return {r.ring_id: r.users for r in found if r.status != "ended"} == replayed == want.rings

        self.eventually(kept, 30.0, "the ledger has the rings")
        text = "MATCH (r:Ring {tenant: $tenant})<-[:MEMBER_OF]-(u:User) RETURN r.ring_id, count(u)"
        self.eventually(lambda: dict(self._cypher(text)) == want.rings, 60.0, "the graph has the rings")  # type: ignore[arg-type]

    def histories(self, ring_ids: set[str]) -> list[Sequence[RingEntry]]:
        ledger = self.ledger()
        return [h for id_ in sorted(ring_ids) if (h := ledger.ring_history(self.tenant, id_, limit=10_000))]

    def check_all(self, want: Expected) -> None:
        self.check_decisions(want)
        self.check_alerts(want)
        self.check_state(want)
        self.check_graph(want)
        self.check_rings(want)


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
