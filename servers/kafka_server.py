"""Kafka as one Java process that is broker and controller (KRaft), from Maven Central."""

from __future__ import annotations

import base64
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ringwatch.errors import Unavailable
from servers.java import class_path, deploy_folder, flags, java, require_jars
from servers.process import Command, listens, run
from servers.server import Place, Say

_CONFIG = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "6000",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    # As long as decisions are kept: a group that was away longer would begin anew, and so count twice.
    "offsets.retention.minutes": "44640",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
_TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
}


class KafkaServer:
    """One node without encryption on loopback; topics are made by whoever needs them, never by themselves."""

    name: ClassVar[str] = "kafka"
    ports: ClassVar[tuple[str, ...]] = ("kafka", "controller")
    stop_with: ClassVar[signal.Signals] = signal.SIGTERM

    def require(self) -> None:
        java()
        require_jars(self.name)

    def prepare(self, at: Place, say: Say) -> None:
        machine, args = java(), class_path(self.name, say)
        config = at.folder / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in self._config(at).items()))
        self._write_tools(at, machine, args)
        data = at.folder / "data"
        if (data / "meta.properties").exists():
            return
        if data.exists():
            shutil.rmtree(data)
        say("formatting its storage")
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "A")
        tool = [str(machine), *flags(args, 128, quick=True), "kafka.tools.StorageTool"]
        code, text = run([*tool, "format", "--cluster-id", cluster, "--config", str(config)], folder=at.folder)
        if code:
            raise Unavailable(
                f"Kafka's storage cannot be formatted (status {code}): {' '.join(text.split()[-40:])}",
                hint=f"look at {config}, and whether the disk is full",
            )

    def command(self, at: Place) -> Command:
        options = flags(
            class_path(self.name, lambda line: None),
            at.sizing.kafka_heap_mb,
            f"-Dlog4j2.configurationFile={deploy_folder() / 'kafka-log4j2.xml'}",
            f"-Dringwatch.logs={at.folder / 'logs'}",
            quick=at.sizing.quick_start,
        )
        argv = [str(java()), *options, "kafka.Kafka", str(at.folder / "server.properties")]
        return Command(argv, at.folder, at.folder / "logs" / "console.log")

    def trouble(self, at: Place, wait_s: float) -> str | None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        if not listens(at.ports["kafka"]):
            return f"nobody listens on port {at.ports['kafka']}"
        client = AdminClient(
            {"bootstrap.servers": f"127.0.0.1:{at.ports['kafka']}", "log_level": 0, "socket.timeout.ms": 10_000}
        )
        try:
            found = client.list_topics(timeout=wait_s)
        except KafkaException as error:
            return str(error.args[0].str())
        return None if found.brokers else "it names no broker yet"

    def settings(self, at: Place) -> Mapping[str, str]:
        return {"RINGWATCH_BUS_URL": f"kafka://127.0.0.1:{at.ports['kafka']}"}

    def logs(self, at: Place) -> list[Path]:
        return [at.folder / "logs" / "server.log", at.folder / "logs" / "console.log"]

    def leftovers(self, at: Place) -> list[Path]:
        return []

    def _config(self, at: Place) -> Mapping[str, str]:
        client, controller = f"127.0.0.1:{at.ports['kafka']}", f"127.0.0.1:{at.ports['controller']}"
        return {
            **_CONFIG,
            "listeners": f"CLIENT://{client},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENT://{client}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(at.folder / "data"),
        }

    def _write_tools(self, at: Place, machine: Path, args: Path) -> None:
        """Kafka's own console programs, as scripts that know this server."""
        folder = at.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name, main in _TOOLS.items():
            script = folder / name
            start = f"exec '{machine}' -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 '@{args}' {main}"
            script.write_text(f'#!/bin/sh\n{start} --bootstrap-server 127.0.0.1:{at.ports["kafka"]} "$@"\n')
            script.chmod(0o755)
