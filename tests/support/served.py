"""A served API for tests: in this process, or as a user starts it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient
from support.cli import command, environment

AT = "2026-05-01T12:00:00Z"


def event(n: int | str, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e-{n}", "type": "payment", "at": AT, "user": f"u-{n}", "amount": 12.5, **more}


@contextmanager
def in_process(folder: Path, **settings: Any) -> Iterator[TestClient]:
    """The whole service behind a test client; `client.app_state` has its parts. Requests have time, however busy the machine is."""
    from api.app import build_app
    from api.keys import KeyFile
    from ringwatch.commands.serve import served_of
    from ringwatch.settings import Settings
    from ringwatch.wiring import open_service

    service = open_service(
        Settings(**{"data_dir": folder, "max_entities": 1000, "api_deadline_ms": 30_000, **settings})
    )
    here = served_of(service, KeyFile(folder, here_clock))
    with TestClient(build_app(here), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        client.here = here  # type: ignore[attr-defined]
        client.service = service  # type: ignore[attr-defined]
        yield client
    service.close()


def here_clock() -> float:
    import time

    return time.time()


@dataclass(frozen=True)
class Running:
    """A server process."""

    process: subprocess.Popen[str]
    url: str
    said: str

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30.0, **more)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


def start(folder: Path, *options: str, **settings: object) -> Running:
    """`ringwatch serve` on a free port, up and saying so."""
    process = subprocess.Popen(
        command("serve", "--port", 0, "--data-dir", folder, *options),
        stdout=subprocess.PIPE,
        stderr=(folder.parent / f"{folder.name}.err").open("a"),
        text=True,
        env=environment(max_entities=1000, **settings),
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "curl" in line:
            break
    found = re.search(r" at (http://\S+)", said)
    assert found is not None, (folder.parent / f"{folder.name}.err").read_text()
    return Running(process, found[1], said)


@contextmanager
def running(folder: Path, *options: str, **settings: object) -> Iterator[Running]:
    server = start(folder, *options, **settings)
    try:
        yield server
        assert server.stop() == 0
    finally:
        if server.process.poll() is None:
            server.kill()
    errors = (folder.parent / f"{folder.name}.err").read_text()
    assert "Traceback" not in errors, errors
    assert "unexpected" not in errors, errors
