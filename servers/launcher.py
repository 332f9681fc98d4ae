"""Neo4j, Kafka, Redis and PostgreSQL on loopback without containers: start, stop, repair, and what leads to them."""

from __future__ import annotations

import fcntl
import secrets
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ringwatch.errors import BadInput, Conflict, NotFound, Unavailable, did_you_mean
from servers import record
from servers.kafka_server import KafkaServer
from servers.neo4j_server import Neo4jServer
from servers.postgres_server import PostgresServer
from servers.process import Proc, free_ports, port_is_free, resident_mb, spawn
from servers.redis_server import RedisServer
from servers.server import Place, Server, Sizing, write_private

KINDS: tuple[type[Server], ...] = (RedisServer, PostgresServer, KafkaServer, Neo4jServer)
NAMES = tuple(kind.name for kind in KINDS)
Tell = Callable[[str, str], None]
"""Takes the name of a server and one line about it."""
_READY_S = 300.0
_STOP_S = 60.0
_FREED_S = 10.0
"""A process that was killed gives its ports back within that; `start` would take others else."""
_SAY_EVERY_S = 10.0
_TAIL = 15


@dataclass(frozen=True)
class Status:
    """How a server is. `state`: running, paused, silent (runs and does not answer), died, stopped."""

    name: str
    state: str
    pid: int
    ports: Mapping[str, int]
    memory_mb: float
    up_s: float
    trouble: str
    log: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Servers:
    """The servers of one folder. Every process may make one of these; a lock in the folder orders what changes them.

    The processes survive the one that starts them. Each is known by pid and the moment it began, so that another
    process that got its pid is never touched.
    """

    def __init__(self, folder: Path, tell: Tell = lambda name, line: None) -> None:
        self.folder = folder.absolute()
        self._tell = tell
        self._kinds: dict[str, Server] = {kind.name: kind() for kind in KINDS}

    def up(self, only: Sequence[str] = NAMES, sizing: Sizing | None = None) -> None:
        """Start what does not run, and return when everything asked for answers. What runs is left alone.

        Raises NotFound for a missing program (nothing is started then), Unavailable for a server that does not come up.
        """
        for name in only:
            self._check(name)
        record.claim(self.folder)
        with self._locked():
            if sizing is not None:
                known = record.load(self.folder)
                known.sizing = sizing
                record.save(self.folder, known)
            missing = [self._missing(name) for name in only]
            if any(missing):
                raise NotFound(
                    "; ".join(str(m.message) for m in missing if m), hint="; ".join(str(m.hint) for m in missing if m)
                )
            for name in (n for n in NAMES if n in only):
                self._launch(name)
            for name in (n for n in NAMES if n in only):
                self._await(name)
            self._write_env()

    @property
    def sizing(self) -> Sizing:
        """As given last; the defaults before."""
        return record.load(self.folder).sizing

    def down(self, only: Sequence[str] = NAMES) -> None:
        """Stop what runs: asked first, killed when it does not end within a minute."""
        if not record.exists(self.folder):
            return
        with self._locked():
            self._end([name for name in reversed(NAMES) if name in only])

    def delete(self) -> None:
        """Stop everything and remove the folder with all data."""
        if not record.exists(self.folder):
            raise NotFound(f"no servers in {self.folder}", hint="--data-dir names their folder")
        with self._locked():
            self._end(NAMES)
            known = [name for name in NAMES if name in record.load(self.folder).servers]
            for path in [p for name in known for p in self._kinds[name].leftovers(self._place(name))]:
                shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(self.folder)

    def start(self, name: str) -> None:
        """Start one and return when it answers."""
        self.up([name])

    def stop(self, name: str) -> None:
        self._check(name)
        self.down([name])

    def kill(self, name: str) -> None:
        """SIGKILL to it and everything below it, as a crash; it counts as died, and `up` starts it again."""
        self._signal(name, signal.SIGKILL)
        proc = self._proc(name)
        if proc is not None:
            proc.wait(_STOP_S)
        ports = record.load(self.folder).servers[name].ports.values()
        until = time.monotonic() + _FREED_S
        while not all(port_is_free(port) for port in ports) and time.monotonic() < until:
            time.sleep(0.05)

    def pause(self, name: str) -> None:
        """Freeze it, connections kept: to its clients the network stalls."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def runs(self, name: str) -> bool:
        proc = self._proc(name)
        return proc is not None and proc.alive()

    def pid(self, name: str) -> int:
        """Raises NotFound when it does not run."""
        proc = self._proc(name)
        if proc is None or not proc.alive():
            raise NotFound(f"{name} does not run", hint="`ringwatch servers up` starts it")
        return proc.pid

    def status(self, wait_s: float = 2.0) -> list[Status]:
        """Of every server ever started here; asks each for an answer, `wait_s` at most."""
        known = record.load(self.folder)
        return [self._status(name, known.servers[name], wait_s) for name in NAMES if name in known.servers]

    @property
    def settings(self) -> dict[str, str]:
        """RINGWATCH_* variables that lead to the servers started here, whether they run now or not."""
        known = record.load(self.folder).servers
        return {
            k: v for name in NAMES if name in known for k, v in self._kinds[name].settings(self._place(name)).items()
        }

    @property
    def browser(self) -> str:
        """Address of Neo4j Browser; empty when there is no Neo4j here."""
        known = record.load(self.folder).servers
        return f"http://127.0.0.1:{known['neo4j'].ports['http']}/browser/" if "neo4j" in known else ""

    def _launch(self, name: str) -> None:
        """Start one unless it runs already."""
        known = record.load(self.folder)
        entry = known.servers.setdefault(name, record.Entry())
        if entry.proc is not None and entry.proc.alive():
            self._tell(name, f"runs already, process {entry.pid}")
            entry.proc.send_all(signal.SIGCONT)
            return
        entry.ports = self._ports(name, entry.ports)
        entry.wanted = True
        record.save(self.folder, known)
        place, kind = self._place(name), self._kinds[name]
        kind.prepare(place, lambda line: self._tell(name, line))
        proc = spawn(kind.command(place))
        entry.pid, entry.began, entry.started_s = proc.pid, proc.began, time.time()
        record.save(self.folder, known)
        self._tell(name, f"started, process {proc.pid}, port {entry.ports[kind.ports[0]]}")

    def _await(self, name: str) -> None:
        """Until it answers. Raises Unavailable, with the end of its log, when it ends or says nothing for long."""
        kind, place, proc = self._kinds[name], self._place(name), self._proc(name)
        assert proc is not None
        began = said = time.monotonic()
        while True:
            if not proc.alive():
                raise self._failed(name, "ended while starting")
            trouble = kind.trouble(place, 2.0)
            now = time.monotonic()
            if trouble is None:
                break
            if now - began > _READY_S:
                self._end([name])
                raise self._failed(name, f"did not answer within {_READY_S:.0f} s: {trouble}")
            if now - said > _SAY_EVERY_S:
                said = now
                self._tell(name, f"waiting, {now - began:.0f} s: {trouble}")
            time.sleep(0.1)
        self._tell(name, "answers")

    def _failed(self, name: str, what: str) -> Unavailable:
        logs = [path for path in self._kinds[name].logs(self._place(name)) if path.exists() and path.stat().st_size]
        tail = [line for path in logs[:1] for line in path.read_text(errors="replace").splitlines()[-_TAIL:]]
        end = "".join(f"\n       {line}" for line in tail) or " (it wrote nothing)"
        where = str(logs[0]) if logs else str(self.folder / name)
        return Unavailable(
            f"{name} {what}; the end of its log:{end}",
            hint=f"all of it is in {where}; `ringwatch servers up` tries again, `ringwatch servers down --delete` starts anew",
        )

    def _end(self, names: Sequence[str]) -> None:
        known = record.load(self.folder)
        asked: list[tuple[str, Proc]] = []
        for name in (n for n in names if n in known.servers):
            entry = known.servers[name]
            entry.wanted = False
            proc = entry.proc
            if proc is not None and proc.alive():
                proc.send_all(signal.SIGCONT)
                proc.send(self._kinds[name].stop_with)
                asked.append((name, proc))
        record.save(self.folder, known)
        until = time.monotonic() + _STOP_S
        for name, proc in asked:
            if proc.wait(max(0.0, until - time.monotonic())):
                self._tell(name, f"stopped, process {proc.pid}")
                continue
            proc.send_all(signal.SIGKILL)
            proc.wait(_STOP_S)
            self._tell(name, f"killed, process {proc.pid}: it did not stop within {_STOP_S:.0f} s")

    def _status(self, name: str, entry: record.Entry, wait_s: float) -> Status:
        kind, place, proc = self._kinds[name], self._place(name), entry.proc
        trouble = ""
        if proc is None or not proc.alive():
            state = "died" if entry.wanted else "stopped"
        elif proc.paused():
            state = "paused"
        else:
            trouble = kind.trouble(place, wait_s) or ""
            state = "silent" if trouble else "running"
        alive = state not in ("died", "stopped")
        return Status(
            name=name,
            state=state,
            pid=entry.pid if alive else 0,
            ports=entry.ports,
            memory_mb=round(resident_mb(entry.pid), 1) if alive else 0.0,
            up_s=round(time.time() - entry.started_s, 1) if alive else 0.0,
            trouble=trouble,
            log=str(next((path for path in kind.logs(place) if path.exists()), "")),
        )

    def _ports(self, name: str, before: Mapping[str, int]) -> dict[str, int]:
        """The ports it had, where nobody took them; free ones else."""
        names = self._kinds[name].ports
        taken = {n for n, port in before.items() if not port_is_free(port)}
        for which in taken:
            self._tell(name, f"port {before[which]} is taken by another program now: a new one is chosen")
        kept = {n: before[n] for n in names if n in before and n not in taken}
        fresh = iter(free_ports(len(names) - len(kept)) if len(names) > len(kept) else ())
        return {n: kept[n] if n in kept else next(fresh) for n in names}

    def _place(self, name: str) -> Place:
        known = record.load(self.folder)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        secret = self.folder / "secrets" / name
        if not secret.exists():
            write_private(secret, secrets.token_hex(16) + "\n")
            secret.parent.chmod(0o700)
        return Place(folder, known.servers[name].ports, secret, known.sizing)

    def _write_env(self) -> None:
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in self.settings.items()]
        write_private(self.folder / "env", "".join(lines))

    def _missing(self, name: str) -> NotFound | None:
        """The error for a program this server needs and the machine lacks."""
        try:
            self._kinds[name].require()
        except NotFound as error:
            return error
        return None

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._check(name)
        self.pid(name)
        proc = self._proc(name)
        if proc is not None:
            proc.send_all(number)

    def _proc(self, name: str) -> Proc | None:
        entry = record.load(self.folder).servers.get(name)
        return entry.proc if entry else None

    def _check(self, name: str) -> None:
        if name not in self._kinds:
            raise BadInput(f"{name!r} is no server", hint=did_you_mean(name, NAMES))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises Conflict when another process is changing the same servers."""
        with (self.folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"another process is starting or stopping the servers of {self.folder}",
                    hint="wait for it, or choose another folder with --data-dir",
                ) from None
            yield
