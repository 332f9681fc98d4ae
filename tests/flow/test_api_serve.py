"""`ringwatch serve` as a user runs it: what it says, what survives a kill, how it stops."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
from support.cli import ringwatch
from support.served import Running, event, running, start


def test_it_says_where_it_is_and_the_curl_works(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        assert "bound to loopback only" in server.said
        command = server.said.splitlines()[-1].strip()
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=30, check=True)
        assert msgspec.json.decode(done.stdout)["level"] == "LOW"


def test_a_local_key_is_printed_and_needed(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--local-key") as server, server.client() as client:
        assert client.get("/v1/alerts").status_code == 401
        command = shlex.split(server.said.splitlines()[-1].strip())
        assert (
            msgspec.json.decode(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout)["score"]
            >= 0.0
        )
        key = next(line.split()[1] for line in server.said.splitlines() if line.startswith("  key "))
        assert client.get("/metrics", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_keys_made_and_revoked_while_it_runs_count_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as server, server.client() as client:
        assert client.get("/status").status_code == 200
        made = ringwatch("keys", "create", "--tenant", "acme", "--name", "ci", "--data-dir", data)
        auth = {"authorization": f"Bearer {made.out.strip()}"}
        assert client.get("/status").status_code == 401
        assert client.get("/status", headers=auth).json()["tenant"] == "acme"
        ringwatch("keys", "revoke", "ci", "--data-dir", data)
        assert client.get("/status", headers=auth).status_code == 401
    listed = ringwatch("keys", "list", "--json", "--data-dir", data).json()
    assert listed[0]["revoked"]
    assert listed[0]["last_used"]
    assert made.out.strip() not in str(listed)


def test_beyond_loopback_only_with_keys(tmp_path: Path) -> None:
    refused = ringwatch("serve", "--host", "0.0.0.0", "--port", 0, "--data-dir", tmp_path / "data")
    assert refused.code == 1
    assert "ringwatch keys create" in refused.err
    unknown = ringwatch("keys", "create", "--name", "x", "--scopes", "root", "--data-dir", tmp_path / "data")
    assert unknown.code == 2


def test_on_all_addresses_it_tells_one_that_can_be_called(tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--local-key")
    with running(tmp_path / "data", *options, allowed_hosts="fraud.example") as server, server.client() as client:
        assert server.url.startswith("http://127.0.0.1:")
        assert "listens   on all addresses" in server.said
        command = shlex.split(server.said.splitlines()[-1].strip())
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
        assert msgspec.json.decode(done.stdout)["level"] == "LOW"
        assert client.get("/readyz", headers={"Host": "fraud.example"}).status_code == 200
        assert client.get("/readyz", headers={"Host": "elsewhere.example"}).status_code == 421


def test_another_loopback_address_is_called_by_its_own_name(tmp_path: Path) -> None:
    with running(tmp_path / "data", "--host", "127.0.0.2") as server, server.client() as client:
        assert "127.0.0.2" in server.url
        assert client.get("/readyz").status_code == 200
        assert client.get("/readyz", headers={"Host": "elsewhere.example"}).status_code == 421


def test_a_taken_port_and_a_held_folder_are_told(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        port = server.url.rsplit(":", 1)[1]
        assert "cannot be bound" in ringwatch("serve", "--port", port, "--data-dir", tmp_path / "other").err
        assert "in use by process" in ringwatch("serve", "--port", 0, "--data-dir", tmp_path / "data").err


def test_told_to_stop_it_answers_what_it_took_and_takes_a_snapshot(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start(data)
    answers: list[int] = []

    def send() -> None:
        with server.client() as client:
            for part in range(20):
                try:
                    batch = [event(f"{part}-{n}") for n in range(200)]
                    answers.append(client.post("/v1/events", json=batch).json()["accepted"])
                except httpx.HTTPError:
                    return

    sender = threading.Thread(target=send)
    sender.start()
    while not answers:
        pass
    assert server.stop() == 0
    sender.join()
    assert any((data / "snapshots").iterdir())
    with running(data) as again, again.client() as client:
        assert client.get("/status").json()["counts"]["assessments"] >= sum(answers)


def post_until_killed(server: Running, name: str, acknowledged: dict[str, bytes], path: str) -> None:
    with server.client() as client:
        for n in range(100_000):
            body = event(f"{name}-{n}", user=f"u-{n % 50}", device=f"d-{n % 7}")
            try:
                answer = client.post(path, json=body)
            except httpx.HTTPError:
                return
            assert answer.status_code in (200, 202)
            acknowledged[body["event_id"]] = answer.content if path == "/v1/score" else b""


def test_killed_at_any_moment_everything_acknowledged_is_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    acknowledged: dict[str, bytes] = {}
    for round_ in range(2):
        server = start(data, snapshot_interval_s=0.5)
        paths = ("/v1/score", "/v1/score", "/v1/events")
        senders = [
            threading.Thread(target=post_until_killed, args=(server, f"{round_}{i}", acknowledged, path))
            for i, path in enumerate(paths)
        ]
        for sender in senders:
            sender.start()
        while len(acknowledged) < 60 * (round_ + 1):
            pass
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(30)
        for sender in senders:
            sender.join()
    with running(data) as server, server.client() as client:
        for event_id, content in acknowledged.items():
            name, n = event_id.removeprefix("e-").rsplit("-", 1)
            body = event(f"{name}-{n}", user=f"u-{int(n) % 50}", device=f"d-{int(n) % 7}")
            again = client.post("/v1/score", json=body)
            assert again.status_code == 200
            if content:
                assert again.content == content
            found: Any = client.get(f"/v1/assessments/{event_id}").json()
            assert found["assessment"] == again.json()
