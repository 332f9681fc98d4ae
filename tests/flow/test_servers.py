"""`ringwatch servers`: up, status, repair, down, as a user runs them, and what the launcher promises to programs."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringwatch.errors import BadInput, Conflict, NotFound
from servers import record
from servers.launcher import Servers
from servers.neo4j_server import first_user
from servers.process import Proc, began, free_ports, port_is_free
from tests.support import backends
from tests.support.backends import absent
from tests.support.cli import Done, command, ringwatch

SMALL = ("redis", "postgres")


@pytest.fixture(scope="module")
def pair(own_servers: Callable[..., Servers]) -> Servers:
    """Redis and PostgreSQL of this module."""
    return own_servers(*SMALL)


@pytest.fixture
def running(pair: Servers) -> Servers:
    """The same, up again whatever the last test did to them."""
    pair.up(SMALL)
    return pair


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder anybody may pass through, where PostgreSQL's own user keeps its data in place."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o711)
        yield Path(path) / "servers"


def states(here: Servers) -> dict[str, str]:
    return {one.name: one.state for one in here.status()}


def cli(action: str, here: Servers, *options: object) -> Done:
    return ringwatch("servers", action, "--data-dir", here.folder, *options)


def test_up_prints_settings_that_lead_to_servers_that_answer(running: Servers) -> None:
    done = cli("up", running, "--only", "redis,postgres")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert all(line.startswith("export RINGWATCH_") for line in lines)
    assert {line.split("=")[0].removeprefix("export ") for line in lines} == set(running.settings)
    printed = subprocess.run(
        ["sh", "-c", f"set -a; . {running.folder}/env; env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {f"{name}={value}" for name, value in running.settings.items()} <= set(printed)


def test_a_second_up_leaves_what_runs_alone(running: Servers) -> None:
    before = {one.name: (one.pid, one.ports) for one in running.status()}
    done = cli("up", running, "--only", "redis,postgres")
    assert done.err.count("runs already") == 2
    assert {one.name: (one.pid, one.ports) for one in running.status()} == before


def test_passwords_are_for_their_owner_only_and_in_no_command_line(running: Servers) -> None:
    for path in (*(running.folder / "secrets").iterdir(), running.folder / "env", running.folder / "servers.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = [path.read_text().strip() for path in (running.folder / "secrets").iterdir()]
    assert len(set(secrets)) == len(secrets)
    shown = subprocess.run(["ps", "-Ao", "args="], capture_output=True, text=True, check=True).stdout
    assert not [secret for secret in secrets if secret in shown]


def test_a_wrong_password_is_refused(running: Servers) -> None:
    import psycopg
    import redis

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(running.settings["RINGWATCH_LEDGER_URL"], password="wrong")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(running.settings["RINGWATCH_STATE_URL"]).ping()


def test_one_that_died_is_told_and_started_again_with_its_data_and_port(running: Servers) -> None:
    import redis

    client = redis.Redis.from_url(
        running.settings["RINGWATCH_STATE_URL"],
        password=Path(running.settings["RINGWATCH_REDIS_PASSWORD_FILE"]).read_text().strip(),
    )
    client.set("kept", "yes")
    before = running.settings
    running.stop("redis")
    assert states(running) == {"redis": "stopped", "postgres": "running"}
    running.start("redis")
    running.kill("redis")
    done = cli("status", running, "--json")
    assert done.code == 1
    assert {row["name"]: row["state"] for row in done.json()} == {"redis": "died", "postgres": "running"}
    assert cli("up", running, "--only", "redis").code == 0
    assert states(running) == {"redis": "running", "postgres": "running"}
    assert running.settings == before
    assert client.get("kept") == b"yes"
    client.close()


def test_a_paused_one_is_told_and_goes_on(running: Servers) -> None:
    running.pause("postgres")
    assert states(running)["postgres"] == "paused"
    running.resume("postgres")
    assert states(running)["postgres"] == "running"


def test_a_pid_that_belongs_to_another_process_is_left_alone(running: Servers) -> None:
    running.stop("redis")
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    known = record.load(running.folder)
    known.servers["redis"].pid, known.servers["redis"].wanted = stranger.pid, True
    record.save(running.folder, known)
    assert states(running)["redis"] == "died"
    running.down(["redis"])
    with pytest.raises(NotFound, match="redis does not run"):
        running.kill("redis")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_taken_port_is_replaced(running: Servers) -> None:
    running.stop("redis")
    before = record.load(running.folder).servers["redis"].ports["redis"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", before))
        other.listen()
        done = cli("up", running, "--only", "redis")
    assert done.code == 0
    assert f"port {before} is taken" in done.err
    assert record.load(running.folder).servers["redis"].ports["redis"] != before


def test_one_that_cannot_start_shows_the_end_of_its_log(running: Servers) -> None:
    running.stop("redis")
    appended = running.folder / "redis" / "appendonlydir"
    manifest = next(appended.glob("*.manifest"))
    good = manifest.read_bytes()
    manifest.write_text("nonsense\n")
    done = cli("up", running, "--only", "redis")
    manifest.write_bytes(good)
    assert done.code == 1
    assert "redis ended while starting; the end of its log:" in done.err
    assert "AOF" in done.err
    assert "redis.log" in done.err


def test_two_that_change_the_same_folder_do_not_meet(running: Servers) -> None:
    with running._locked(), pytest.raises(Conflict, match="another process is starting or stopping"):
        running.up(["redis"])


def test_down_leaves_no_process_and_keeps_the_data(running: Servers) -> None:
    pids = [one.pid for one in running.status()]
    assert cli("down", running).code == 0
    assert [began(pid) for pid in pids] == ["", ""]
    assert states(running) == {"redis": "stopped", "postgres": "stopped"}
    assert cli("down", running).code == 0


def test_delete_leaves_nothing(folder: Path) -> None:
    here = Servers(folder)
    try:
        done = cli("up", here, "--only", "redis")
        assert done.code == 0 or "is not installed" in done.err
    finally:
        removed = cli("down", here, "--delete")
    assert removed.code == 0
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_folder_that_postgres_may_not_enter_has_its_database_elsewhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    here = Servers(tmp_path / "servers")
    try:
        done = cli("up", here, "--only", "postgres")
        if "is not installed" in done.err:
            raise absent(done.err)
        assert done.code == 0, done.err
        place = here._place("postgres")
        (elsewhere,) = here._kinds["postgres"].leftovers(place)
        assert (elsewhere / "PG_VERSION").exists()
        assert cli("down", here, "--delete").code == 0
    finally:
        if record.exists(here.folder):
            here.delete()
    assert not elsewhere.exists()


@pytest.mark.slow
def test_all_four_and_the_browser(own_servers: Callable[..., Servers]) -> None:
    here = own_servers("redis", "postgres", "kafka", "neo4j")
    assert states(here) == dict.fromkeys(("redis", "postgres", "kafka", "neo4j"), "running")
    with urllib.request.urlopen(here.browser, timeout=30) as answer:
        assert b"Neo4j Browser" in answer.read()
    tools = here.folder / "kafka" / "bin"
    subprocess.run([tools / "kafka-topics", "--create", "--topic", "told"], check=True, capture_output=True)
    subprocess.run([tools / "kafka-console-producer", "--topic", "told"], input=b"once\n", check=True)
    here.kill("kafka")
    here.start("kafka")
    said = subprocess.run(
        [tools / "kafka-console-consumer", "--topic", "told", "--from-beginning", "--max-messages", "1"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert said.stdout == b"once\n"
    pids = [one.pid for one in here.status()]
    here.down()
    assert [began(pid) for pid in pids] == [""] * 4


@pytest.mark.parametrize(
    ("only", "package"),
    [("redis", "redis-server"), ("kafka", "openjdk-17-jre-headless"), ("neo4j", "openjdk-17-jre-headless")],
)
def test_a_missing_program_is_named_with_its_package(folder: Path, tmp_path: Path, only: str, package: str) -> None:
    done = subprocess.run(
        command("servers", "up", "--only", only, "--data-dir", folder),
        capture_output=True, text=True, env={"PATH": str(tmp_path), "HOME": str(tmp_path)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not installed" in done.stderr
    assert f"apt-get install {package}" in done.stderr


def test_an_old_java_is_refused(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    done = subprocess.run(
        command("servers", "up", "--only", "kafka", "--data-dir", folder),
        capture_output=True, text=True, env={"PATH": f"{tmp_path}:/bin", "HOME": str(tmp_path)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not Java 17 or newer: it says openjdk version" in done.stderr


def test_no_maven_is_named_where_the_jars_are_not_here_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from servers.java import require_jars

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match=r"mvn is not installed \(on Debian and Ubuntu: apt-get install maven\)"):
        require_jars("kafka")


def test_an_unknown_server_and_a_foreign_folder_are_refused(folder: Path) -> None:
    done = cli("up", Servers(folder), "--only", "reddis")
    assert done.code == 2
    assert "did you mean 'redis'?" in done.err
    folder.mkdir()
    (folder / "letters").write_text("mine")
    with pytest.raises(BadInput, match="is not empty and not ours"):
        Servers(folder).up(["redis"])
    assert (folder / "letters").exists()


def test_the_data_of_some_cannot_be_removed_alone(folder: Path) -> None:
    refused = ringwatch("servers", "down", "--only", "redis", "--delete", "--data-dir", folder)
    assert refused.code == 2
    assert "leave one of them out" in refused.err


def test_status_of_nothing_says_how_to_begin(folder: Path) -> None:
    done = cli("status", Servers(folder))
    assert done.code == 1
    assert "`ringwatch servers up` starts them" in done.out


def test_ports_are_out_of_the_way_of_outgoing_connections() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert all(port_is_free(port) for port in ports)
    lowest = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if lowest.exists():
        assert max(ports) < int(lowest.read_text().split()[0])


def test_a_process_that_ended_is_not_alive_though_its_pid_was_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    proc = Proc(child.pid, began(child.pid))
    assert proc.alive()
    assert not Proc(child.pid, "another beginning").alive()
    os.kill(child.pid, signal.SIGKILL)
    assert proc.wait(10)
    child.returncode = -signal.SIGKILL


def test_the_first_password_is_written_as_neo4j_writes_it() -> None:
    user, credential, flag = first_user("a password").strip().split(":")
    algorithm, digest, salt, rounds = credential.split(",")
    assert (user, algorithm, rounds, flag) == ("neo4j", "SHA-256", "1024", "")
    assert len(bytes.fromhex(digest)) == len(bytes.fromhex(salt)) == 32


def test_servers_named_in_the_environment_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGWATCH_TEST_KAFKA_URL", "kafka://broker.example:9093")
    monkeypatch.setenv("RINGWATCH_TEST_KAFKA_USERNAME", "tester")
    found = backends.find("kafka")
    assert (found.origin, found.address, found.password) == ("environment", "broker.example:9093", None)
    assert found.settings == {
        "RINGWATCH_BUS_URL": "kafka://broker.example:9093",
        "RINGWATCH_KAFKA_USERNAME": "tester",
    }


@pytest.mark.parametrize(("required", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_server_that_is_not_there_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, required: str, outcome: type[Exception]
) -> None:
    monkeypatch.delenv("RINGWATCH_TEST_REDIS_URL", raising=False)
    monkeypatch.setattr(backends, "engine_answers", lambda: False)
    monkeypatch.setenv("RINGWATCH_TEST_RUN_FOLDER", str(tmp_path / "run"))
    monkeypatch.setenv("RINGWATCH_REQUIRE_BACKENDS", required)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        outcome, match=r"no redis: RINGWATCH_TEST_REDIS_URL is not set, .*redis-server is not installed"
    ):
        backends.find("redis")
    backends.clear(tmp_path / "run")
