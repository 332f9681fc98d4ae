"""Redis from the operating system's package."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from servers.process import Command
from servers.server import Place, Say, program, write_private

_CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
databases 256
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
"""


class RedisServer:
    """One Redis with a password and an append-only file; it refuses writes rather than evict."""

    name: ClassVar[str] = "redis"
    ports: ClassVar[tuple[str, ...]] = ("redis",)
    stop_with: ClassVar[signal.Signals] = signal.SIGTERM

    def require(self) -> None:
        program("redis-server", "redis-server")

    def prepare(self, at: Place, say: Say) -> None:
        text = _CONFIG.format(
            port=at.ports["redis"],
            password=at.password,
            folder=str(at.folder).replace("\\", "\\\\").replace('"', '\\"'),
        )
        write_private(at.folder / "redis.conf", text)

    def command(self, at: Place) -> Command:
        found = program("redis-server", "redis-server")
        return Command([str(found), str(at.folder / "redis.conf")], at.folder, at.folder / "redis.log")

    def trouble(self, at: Place, wait_s: float) -> str | None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis(
            host="127.0.0.1", port=at.ports["redis"], password=at.password, socket_timeout=wait_s,
            socket_connect_timeout=wait_s, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
        finally:
            client.close()
        return None

    def settings(self, at: Place) -> Mapping[str, str]:
        return {
            "RINGWATCH_STATE_URL": f"redis://127.0.0.1:{at.ports['redis']}/0",
            "RINGWATCH_REDIS_PASSWORD_FILE": str(at.secret),
        }

    def logs(self, at: Place) -> list[Path]:
        return [at.folder / "redis.log"]

    def leftovers(self, at: Place) -> list[Path]:
        return []
