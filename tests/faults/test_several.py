"""Several scorers, and both doors at once: the same facts, in whatever order."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cluster import Cluster
from support.expected import Expected, expected

from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ringwatch.settings import Settings
from ringwatch.wiring import open_assessor
from scorers.assess import Assessor
from scorers.scorer import Batch, Finding, Learner, Scorer
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
FOLLOWERS = ("ring-keeper", "ledger-writer", "graph-writer")


class Told:
    """Says of each event what was said of it when it was decided: in place of a learner, whose model was another then."""

    def __init__(self, scorer: Scorer, told: dict[str, float | None]) -> None:
        self.name, self.version, self._told = scorer.name, scorer.version, told

    def score(self, batch: Batch) -> NDArray[np.float64]:
        return np.array([np.nan if (x := self._told[e.event_id]) is None else x for e in batch.events])

    def explain(self, batch: Batch, row: int) -> tuple[Finding, ...]:
        return ()


def replays(cluster: Cluster) -> None:
    """Each assessment follows from what is stored with it: the event, the features, and what the learners said."""
    schema = FeatureSchema()
    codec, assessor = FeatureCodec(schema), open_assessor(Settings(), schema)
    messages = cluster.decisions()
    scorers = [
        Told(s, {m.event_id: m.scores[s.name] for m in messages}) if isinstance(s, Learner) else s
        for s in assessor.scorers
    ]
    assert any(isinstance(s, Told) for s in scorers)
    features = np.array([codec.unpack(m.features) for m in messages])
    again = Assessor(scorers, assessor.policy, schema)
    made = again.assess([m.event for m in messages], features, np.arange(len(messages)))
    for row, message in enumerate(messages):
        found = made.assessment(row)
        assert found.score == message.score, message.event_id
        assert found.scores == message.scores
        assert (found.level, found.action, found.patterns) == (message.level, message.action, message.patterns)


def only_the_order_shows(cluster: Cluster, want: Expected) -> None:
    """Features are as with one scorer but for those that may depend on the order in which two commit."""
    schema = want.decisions.schema
    steady = np.array([name not in schema.order_dependent for name in schema.names])
    codec = FeatureCodec(schema)
    found = {m.event_id: codec.unpack(m.features) for m in cluster.decisions()}
    for event, row in zip(want.decisions.events, want.decisions.features, strict=True):
        mine = found[event.event_id]
        differ = ~((mine == row) | (np.isnan(mine) & np.isnan(row))) & steady
        assert not differ.any(), (event.event_id, [schema.names[i] for i in np.flatnonzero(differ)])


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
        only_the_order_shows(cluster, want)
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
