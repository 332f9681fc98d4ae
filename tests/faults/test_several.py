"""Several scorers, and both doors at once: the same facts, in whatever order."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.cluster import Cluster
from support.expected import expected

from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ringwatch.settings import Settings
from ringwatch.wiring import open_assessor
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
FOLLOWERS = ("ring-keeper", "ledger-writer", "graph-writer")


def replays(cluster: Cluster) -> None:
    """Each assessment follows from the features and the learner's score stored with it."""
    schema = FeatureSchema()
    codec, assessor = FeatureCodec(schema), open_assessor(Settings(), schema)
    learned = [i for i, name in enumerate(assessor.names) if name == "behaviour_isolation"]
    messages = [m for m in cluster.decisions() if m.scores["behaviour_isolation"] is None]
    assert messages, "everything was scored by a learner"
    features = np.array([codec.unpack(m.features) for m in messages])
    made = assessor.assess([m.event for m in messages], features, np.arange(len(messages)), learn=False)
    assert learned
    for row, message in enumerate(messages):
        again = made.assessment(row)
        assert again.score == message.score, message.event_id
        assert again.scores == message.scores
        assert again.level == message.level


def test_two_scorers_and_a_rebalance(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """A second scorer joins under load and the first is killed later: each event is decided once, the graph is exact."""
    with Cluster(fault_servers, folder, partitions=4) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start("scorer", instance="a")
        cluster.start(*FOLLOWERS)
        sending = threading.Thread(target=cluster.send, args=(lines,), kwargs={"rate": 200})
        sending.start()
        time.sleep(3)
        cluster.start("scorer", instance="b")
        time.sleep(3)
        cluster.kill("scorer", instance="a")
        sending.join()
        cluster.await_all(len(lines))
        cluster.check_decisions(want, exact=False)
        cluster.check_graph(want, exact=False)
        replays(cluster)


def test_http_and_kafka_at_once(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Half of the events come through each door, some through both."""
    with Cluster(fault_servers, folder) as cluster:
        lines = lines[:1200]
        want = expected(lines, cluster.tenant)
        cluster.start("api,scorer,ring-keeper", "ledger-writer", "graph-writer")
        sending = threading.Thread(target=cluster.send, args=(lines[::2] + lines[1::10],), kwargs={"rate": 200})
        sending.start()
        for line in lines[1::2]:
            code, answer = cluster.score(line)
            until = time.monotonic() + 20
            while code == 503 and time.monotonic() < until:  # scored from Kafka a moment ago, and not in the ledger yet
                time.sleep(0.2)
                code, answer = cluster.score(line)
            assert code == 200, answer
        sending.join()
        cluster.await_all(len(lines))
        cluster.check_decisions(want, exact=False)
        cluster.check_graph(want, exact=False)
        code, again = cluster.score(lines[1])
        assert code == 200
        first = next(m for m in cluster.decisions() if m.event_id == again["event_id"])
        assert again["score"] == first.score
