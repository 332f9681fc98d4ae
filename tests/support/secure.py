"""Servers that ask who one is: the launcher's own kinds with TLS and users added, each started once for a module of tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ringwatch.errors import NotFound
from servers import record
from servers.kafka_server import KafkaServer
from servers.launcher import Servers
from servers.neo4j_server import Neo4jServer
from servers.process import Command, listens
from servers.redis_server import RedisServer
from servers.server import Place, Say, Server
from tests.support.backends import absent
from tests.support.certificates import Authority, Certificate

HOST = "127.0.0.1"
"""What the servers' certificates are for; `localhost` leads to the same servers and is not in them."""
_MODULES = "org.apache.kafka.common.security"


def started(own_servers: Callable[..., Servers], kind: Server) -> tuple[Servers, Mapping[str, int]]:
    """The server of this kind, up, in a folder of `own_servers`, and its ports by name. Skips the test where it cannot be."""
    servers = own_servers()
    servers._kinds[kind.name] = kind
    try:
        servers.up([kind.name])
    except NotFound as error:
        raise absent(f"no {kind.name}: {error.message} ({error.hint})") from None
    return servers, record.load(servers.folder).servers[kind.name].ports


class SecureKafka(KafkaServer):
    """Listens without anything (`kafka`, for the test itself, who may do all), with users over TLS (`users`), with users and no TLS
    (`open_users`), and with certificates on both sides (`both`). Who may do what is in access lists."""

    ports: ClassVar[tuple[str, ...]] = ("kafka", "controller", "users", "open_users", "both")
    _listeners: ClassVar[dict[str, str]] = {
        "kafka": "PLAINTEXT",
        "users": "SASL_SSL",
        "open_users": "SASL_PLAINTEXT",
        "both": "SSL",
    }

    def __init__(self, authority: Authority, plain_user: str, plain_password: str) -> None:
        self._authority = authority
        self._own = authority.issue("broker", f"IP:{HOST}")
        self._plain = f'user_{plain_user}="{plain_password}"'

    def _config(self, at: Place) -> Mapping[str, str]:
        where = ",".join(f"{name.upper()}://{HOST}:{at.ports[name]}" for name in self._listeners)
        protocols = ",".join(f"{name.upper()}:{protocol}" for name, protocol in self._listeners.items())
        found = {
            **super()._config(at),
            "listeners": f"{where},CONTROLLER://{HOST}:{at.ports['controller']}",
            "advertised.listeners": where,
            "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "KAFKA",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._own.store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._authority.cert),
            "listener.name.both.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        modules = {
            "users.plain": f"plain.PlainLoginModule required {self._plain}",
            "users.scram-sha-512": "scram.ScramLoginModule required",
            "open_users.scram-sha-256": "scram.ScramLoginModule required",
        }
        found |= {f"listener.name.{of}.sasl.jaas.config": f"{_MODULES}.{module};" for of, module in modules.items()}
        found["listener.name.users.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-512"
        found["listener.name.open_users.sasl.enabled.mechanisms"] = "SCRAM-SHA-256"
        return found


class SecureNeo4j(Neo4jServer):
    """Bolt with TLS only."""

    def __init__(self, authority: Authority) -> None:
        self._own = authority.issue("neo4j", f"IP:{HOST}")

    def prepare(self, at: Place, say: Say) -> None:
        super().prepare(at, say)
        more = {
            "server.bolt.tls_level": "REQUIRED",
            "dbms.ssl.policy.bolt.enabled": "true",
            "dbms.ssl.policy.bolt.base_directory": self._own.cert.parent,
            "dbms.ssl.policy.bolt.private_key": self._own.key,
            "dbms.ssl.policy.bolt.public_certificate": self._own.cert,
            "dbms.ssl.policy.bolt.client_auth": "NONE",
        }
        with (at.folder / "conf" / "neo4j.conf").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in more.items())

    def command(self, at: Place) -> Command:
        """Nothing else of the test gives way to it, so it gives way to nothing."""
        usual = super().command(at)
        return Command(usual.argv, usual.folder, usual.output, user=usual.user)

    def trouble(self, at: Place, wait_s: float) -> str | None:
        from neo4j import GraphDatabase
        from neo4j.exceptions import DriverError, Neo4jError

        if not listens(at.ports["bolt"]):
            return f"nobody listens on port {at.ports['bolt']}"
        more: dict[str, Any] = {"connection_timeout": wait_s, "max_transaction_retry_time": 0}
        with GraphDatabase.driver(
            f"bolt+ssc://{HOST}:{at.ports['bolt']}", auth=("neo4j", at.password), **more
        ) as driver:
            try:
                driver.execute_query("RETURN 1")
            except (DriverError, Neo4jError) as error:
                return str(error)
        return None


class SecureRedis(RedisServer):
    """Without TLS for the launcher (`redis`), with certificates on both sides (`tls`); a user who may do what `docs/state.md` says."""

    ports: ClassVar[tuple[str, ...]] = ("redis", "tls")

    def __init__(self, authority: Authority, user: str, password: str) -> None:
        self._authority = authority
        self._own: Certificate = authority.issue("redis", f"IP:{HOST}")
        self._user = f"user {user} on >{password} ~rw:* +@read +@write +@scripting +@connection +info +dbsize"

    def prepare(self, at: Place, say: Say) -> None:
        super().prepare(at, say)
        more = (
            f"tls-port {at.ports['tls']}",
            f"tls-cert-file {self._own.cert}",
            f"tls-key-file {self._own.key}",
            f"tls-ca-cert-file {self._authority.cert}",
            self._user,
        )
        with (at.folder / "redis.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in more)


def secret_file(folder: Path, name: str, password: str) -> Path:
    """A file with a password, as settings name one."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(f"{password}\n")
    return path
