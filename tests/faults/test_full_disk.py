"""The ledger's disk is full: events go on being decided, the ledger catches up once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.backends import absent
from support.cluster import WHOLE, Cluster
from support.expected import expected

from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
SIZE_MB = 500


@pytest.fixture
def small_disk(fault_servers: Servers) -> Iterator[Path]:
    """The folder of PostgreSQL's data, on a small disk of its own."""
    folder = fault_servers.folder / "postgres"
    aside = folder.with_name("postgres-aside")
    with ExitStack() as after:
        after.callback(fault_servers.up)
        fault_servers.stop("postgres")
        folder.rename(aside)
        folder.mkdir()
        shutil.copystat(aside, folder)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(folder)]
        mounted = subprocess.run(mount, capture_output=True, timeout=20).returncode == 0
        if not mounted:
            folder.rmdir()
            aside.rename(folder)
            raise absent("a small disk cannot be mounted here: run as root, where mount is allowed")

        def back() -> None:
            fault_servers.stop("postgres")
            subprocess.run(["umount", str(folder)], check=True, timeout=20)
            folder.rmdir()
            aside.rename(folder)

        after.callback(back)
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True, timeout=60)
        fault_servers.start("postgres")
        yield folder


def test_the_ledger_has_no_room(fault_servers: Servers, small_disk: Path, lines: list[bytes], folder: Path) -> None:
    filler = small_disk / "filler"
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(*WHOLE)
        cluster.send(lines[:500])
        cluster.eventually(lambda: cluster.decided() >= 500, 90, "the first 500")
        with filler.open("wb") as file:
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
            file.write(b"\0" * max(0, free - 200_000))
        cluster.send(lines[500:])
        cluster.eventually(lambda: len(cluster.decisions()) == len(lines), 90, "all are decided")
        writer = cluster.ports["ledger-writer/0"]
        cluster.eventually(lambda: not cluster.ready_now(writer), 60, "the ledger writer says that it has no room")
        assert cluster.decided() < len(lines)
        filler.unlink()
        cluster.await_all(len(lines))
        cluster.await_ready()
        cluster.check_all(want)
