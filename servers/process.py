"""Processes that outlive the command that starts them: spawn, tell apart, signal, measure. By pid, never by name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from ringwatch.errors import Unavailable
from ringwatch.giving_way import give_way

_LOWEST_PORT = 10_000
_TRIES = 200


@dataclass(frozen=True)
class Command:
    """What to run. `user`: whom to become (only root can); `output`: file its console is appended to; `gives_way`: others go first
    when the machine is busy."""

    argv: Sequence[str]
    folder: Path
    output: Path
    user: str | None = None
    gives_way: bool = False


@dataclass(frozen=True)
class Proc:
    """A process told apart from a later one with the same pid by when it began."""

    pid: int
    began: str

    def alive(self) -> bool:
        """False for one that ended, a zombie, or another process that got its pid."""
        reap(self.pid)
        return bool(self.began) and began(self.pid) == self.began

    def send(self, number: signal.Signals) -> None:
        """To this process; nothing if it has ended."""
        if self.alive():
            _send(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """To this process and everything below it."""
        if self.alive():
            for pid in (self.pid, *descendants(self.pid)):
                _send(pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time."""
        until = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def paused(self) -> bool:
        return _stat(self.pid)[:1] == ["T"] if self.alive() else False


def spawn(command: Command) -> Proc:
    """Start in a session of its own. Raises Unavailable when the program cannot be started."""
    command.output.parent.mkdir(parents=True, exist_ok=True)
    with command.output.open("ab") as output:
        try:
            child = subprocess.Popen(
                list(command.argv), cwd=command.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, user=command.user, group=command.user, extra_groups=[] if command.user else None,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(
                f"{command.argv[0]} cannot be started: {error.strerror}", hint="is it installed, and may you run it?"
            ) from None
    if command.gives_way:
        give_way(child.pid)
    child.returncode = 0  # ours to watch by pid; Popen must not warn that it still runs
    return Proc(child.pid, began(child.pid))


def began(pid: int) -> str:
    """When a live process began, in a form only fit to be compared; empty when there is none or it is a zombie."""
    stat = _stat(pid)
    if not stat or stat[0] in ("Z", "X"):
        return ""
    return f"{_boot()}:{stat[1]}"


def reap(pid: int) -> None:
    """Take the exit status of a child of ours that ended, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def descendants(pid: int) -> list[int]:
    """Every process below one, parents first."""
    below: dict[int, list[int]] = {}
    for child, parent in _parents():
        below.setdefault(parent, []).append(child)
    found, queue = [], list(below.get(pid, []))
    while queue:
        child = queue.pop(0)
        found.append(child)
        queue += below.get(child, [])
    return found


def resident_mb(pid: int) -> float:
    """Memory of a process and everything below it, in MiB; a shared page counts once (0 where it cannot be told)."""
    return sum(_own_mb(one) for one in (pid, *descendants(pid)))


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on, outside the range outgoing connections are given.

    Inside that range a client that retries while the server is down can take the server's port, or connect to itself.
    """
    highest = _ephemeral_from() - 1
    found: list[int] = []
    choose = SystemRandom()
    for _ in range(_TRIES):
        port = choose.randint(_LOWEST_PORT, highest)
        if port not in found and port_is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(
        f"no {count} free ports between {_LOWEST_PORT} and {highest} on 127.0.0.1", hint="stop what holds them"
    )


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(argv: Sequence[str], *, user: str | None = None, folder: Path | None = None) -> tuple[int, str]:
    """Exit status and what it wrote, of a command that ends soon."""
    done = subprocess.run(
        list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=folder, user=user, group=user, extra_groups=[] if user else None,
    )  # fmt: skip
    return done.returncode, done.stdout


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str]:
    """State letter and start time of a process; empty when there is none."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [fields[0].replace("t", "T"), fields[19]]
    code, text = run(["ps", "-o", "state=,lstart=", "-p", str(pid)])
    return [text[0], text[1:].strip()] if code == 0 and text.strip() else []


def _parents() -> Iterator[tuple[int, int]]:
    if not Path("/proc/self/stat").exists():
        for line in run(["ps", "-Ao", "pid=,ppid="])[1].splitlines():
            child, parent = line.split()
            yield int(child), int(parent)
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue


def _own_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def _ephemeral_from() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32_768
