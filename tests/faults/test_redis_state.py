"""The state while its Redis fails: within bounded time an answer or `Unavailable`, and what was committed stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.shared import SCHEMA, TENANT, entries, fresh_state, other, record, write
from support.streams import START_US, payment

from features.redis_state import RedisState
from features.shared_state import SAME
from ringwatch.errors import BadInput, Unavailable
from servers.launcher import Servers

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def servers(own_servers: Callable[..., Servers]) -> Servers:
    return own_servers("redis")


@pytest.fixture
def state(servers: Servers) -> Iterator[RedisState]:
    servers.up(["redis"])
    with fresh_state(url(servers), password=password(servers)) as state:
        yield state
        servers.up(["redis"])


def url(servers: Servers) -> str:
    return servers.settings["RINGWATCH_STATE_URL"]


def password(servers: Servers) -> str:
    return Path(servers.settings["RINGWATCH_REDIS_PASSWORD_FILE"]).read_text().strip()


def count(state: RedisState) -> int:
    found = record(state, "user", "u")
    return 0 if found is None else int(found["count"])


def test_a_frozen_server_is_unavailable_within_the_bound(servers: Servers, state: RedisState) -> None:
    write(state, [payment(0, START_US, entities={"user": "another"})])  # what writing needs is compiled
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    servers.pause("redis")
    try:
        for call in (lambda: state.begin(TENANT, entries([payment(2, START_US)])), lambda: pending.commit([b"r"])):
            started_s = time.monotonic()
            with pytest.raises(Unavailable, match="no answer within 1 s"):
                call()
            assert time.monotonic() - started_s < 2.5
    finally:
        servers.resume("redis")
    again = state.begin(TENANT, entries([payment(1, START_US)]))
    assert again.commit([b"r"] * len(again.rows))
    assert count(state) == 1


def test_what_was_committed_survives_a_stop(servers: Servers, state: RedisState) -> None:
    write(state, [payment(i, START_US + i) for i in range(20)])
    servers.stop("redis")
    with pytest.raises(Unavailable):
        state.begin(TENANT, entries([payment(99, START_US)]))
    servers.up(["redis"])
    assert state.begin(TENANT, entries([payment(3, START_US + 3)])).found == [(SAME, b"here/3", b"r3")]
    assert len(state.unsettled(TENANT)) == 20
    write(state, [payment(30, START_US + 30)])
    assert count(state) == 21


def test_a_crash_loses_at_most_what_was_not_yet_on_disk_and_never_half_a_batch(
    servers: Servers, state: RedisState
) -> None:
    for i in range(0, 40, 4):
        write(state, [payment(n, START_US + n) for n in range(i, i + 4)], i)
    time.sleep(1.5)
    for i in range(40, 60, 4):
        write(state, [payment(n, START_US + n) for n in range(i, i + 4)], i)
    servers.kill("redis")
    servers.up(["redis"])
    kept = count(state)
    assert kept >= 40
    assert kept % 4 == 0
    assert len(state.unsettled(TENANT)) == kept
    for i in range(0, 60, 4):
        write(state, [payment(n, START_US + n) for n in range(i, i + 4)], i)
    assert count(state) == 60


def test_a_connection_cut_in_the_middle_is_made_again(state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    number = state.wire.ask("CLIENT", "ID")
    with closing(other(state)) as cutter:
        assert cutter.wire.ask("CLIENT", "KILL", "ID", number) == 1
    assert write(state, [payment(2, START_US + 1)])[0, SCHEMA.column("user.count_all")] == 2


def test_a_full_server_takes_no_half_batches_and_evicts_nothing(servers: Servers, state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    state.begin(TENANT, [])
    before = state.stats()
    state.wire.ask("CONFIG", "SET", "maxmemory", before["bytes"] // 2)
    try:
        pending = state.begin(TENANT, entries([payment(2, START_US + 1)]))
        with pytest.raises(Unavailable, match="maxmemory"):
            pending.commit([b"r"])
        assert count(state) == 1
        assert len(state.unsettled(TENANT)) == 1
    finally:
        state.wire.ask("CONFIG", "SET", "maxmemory", 0)
    assert state.stats()["evicted"] == before["evicted"]
    assert write(state, [payment(2, START_US + 1)])[0, SCHEMA.column("user.count_all")] == 2


def test_a_wrong_password_is_told_and_never_shown(servers: Servers) -> None:
    state = RedisState(url(servers), SCHEMA, password="not-the-one")
    with pytest.raises(Unavailable, match="password") as error:
        state.begin(TENANT, [])
    assert "not-the-one" not in str(error.value)


def test_half_an_access_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    with pytest.raises(BadInput, match="without a password"):
        RedisState("redis://localhost", SCHEMA, username="ringwatch")
    with pytest.raises(BadInput, match="rediss"):
        RedisState("redis://localhost", SCHEMA, ca_file=key)
    with pytest.raises(BadInput, match="one is missing"):
        RedisState("rediss://localhost", SCHEMA, key_file=key)
    with pytest.raises(BadInput, match=r"gone\.pem"):
        RedisState("rediss://localhost", SCHEMA, ca_file=tmp_path / "gone.pem")
    with pytest.raises(BadInput, match="cannot be read"):
        RedisState("http://:secret@localhost", SCHEMA)


@pytest.fixture
def tls(tmp_path: Path, servers: Servers) -> Iterator[tuple[int, Path, Path, Path]]:
    """(port, authority, certificate, key) of a server that speaks TLS only and asks for our certificate."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run([*made, *names], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert]
    command = ["redis-server", "--port", "0", "--tls-port", str(port), *files, "--save", "", "--dir", tmp_path]
    process = subprocess.Popen([*map(str, command), "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        yield port, cert, cert, key
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_tls_with_a_certificate_of_ours(tls: tuple[int, Path, Path, Path]) -> None:
    port, authority, cert, key = tls
    state = RedisState(f"rediss://127.0.0.1:{port}/0", SCHEMA, ca_file=authority, cert_file=cert, key_file=key)
    for _ in range(50):
        try:
            state.initialise()
            break
        except Unavailable:
            time.sleep(0.1)
    assert write(state, [payment(1, START_US)])[0, SCHEMA.column("user.count_all")] == 1
    state.close()
    with pytest.raises(Unavailable):
        RedisState(f"rediss://127.0.0.1:{port}/0", SCHEMA).begin(TENANT, [])
