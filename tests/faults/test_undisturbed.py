"""Without any fault: real servers and several processes leave what one embedded process leaves, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cluster import WHOLE, Cluster
from support.expected import expected

from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]


def test_the_stores_equal_an_embedded_run(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(*WHOLE)
        cluster.send(lines)
        cluster.await_all(len(lines))
        cluster.check_all(want)
        ids = {entry.ring_id for entry in want.history}
        assert [entry for history in cluster.histories(ids) for entry in history] == want.history
        assert cluster.dead_letters() == []
