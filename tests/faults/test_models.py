"""Learned models on real servers: the folder of models is what all processes that score share."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.cluster import WHOLE, Cluster
from support.expected import expected
from support.models import put, trained
from support.networks import joined

from bus.decisions import to_decisions
from bus.messages import DecisionMessage
from explain.replay import replay
from features.codec import FeatureCodec
from features.schema import FeatureSchema
from ringwatch.wiring import open_past
from scorers.learned.again import again
from scorers.learned.inputs import CHALLENGER, LEARNED, MODELS
from scorers.learned.served_network import OFF
from scorers.learned.shelf import Serving, Shelf
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
FOLLOWERS = ("ring-keeper", "ledger-writer", "graph-writer")


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf(folder / "models")


def same_again(messages: Sequence[DecisionMessage], shelf: Shelf) -> None:
    """What the models said follows from what is stored with each decision, to the bit."""
    codec = FeatureCodec(FeatureSchema())
    for made in to_decisions(messages, codec, np.arange(len(messages))):
        assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)


def test_models_say_what_they_say_embedded_through_kills(
    fault_servers: Servers, lines: list[bytes], folder: Path, shelf: Shelf
) -> None:
    """Champion and challenger; the scorer is killed twice under load."""
    shelf.serve(Serving(put(shelf, "one", trained(1), folder), put(shelf, "two", trained(2), folder)))
    with Cluster(fault_servers, folder, models_dir=shelf.folder) as cluster:
        want = expected(lines, cluster.tenant, models_dir=shelf.folder)
        assert np.isfinite(want.decisions.scores_of(MODELS)).all()
        cluster.start(*WHOLE)
        sending = threading.Thread(target=cluster.send, args=(lines,), kwargs={"rate": 250})
        sending.start()
        for _ in range(2):
            time.sleep(3)
            cluster.kill(WHOLE[0])
            cluster.start(WHOLE[0], wait=False)
        sending.join()
        cluster.await_all(len(lines))
        cluster.check_all(want)
        same_again(cluster.decisions(), shelf)
        past = open_past(cluster.settings(), want.decisions.schema)
        stored = cluster.ledger().assessments(cluster.tenant, [e.event_id for e in want.decisions.events[::10]])
        assert [r for r in (replay(past, then) for then in stored.values()) if not r.identical or r.versions] == []


def test_two_scorers_take_over_another_model(
    fault_servers: Servers, lines: list[bytes], folder: Path, shelf: Shelf
) -> None:
    """Promoted under load, in the middle of a rebalance; where the state is shared its graph network is not asked, and that is said."""
    one, two = put(shelf, "one", trained(1), folder), put(shelf, "two", joined(2), folder)
    shelf.serve(Serving(one))
    with Cluster(fault_servers, folder, partitions=4, models_dir=shelf.folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start("scorer", instance="a")
        cluster.start("scorer", instance="b")
        cluster.start(*FOLLOWERS)
        sending = threading.Thread(target=cluster.send, args=(lines,), kwargs={"rate": 200})
        sending.start()
        time.sleep(3)
        shelf.serve(Serving(two, one))
        cluster.kill("scorer", instance="a")
        sending.join()
        cluster.await_all(len(lines))
        cluster.check_decisions(want, exact=False)
        cluster.check_graph(want, exact=False)
        messages = cluster.decisions()
        for message in messages:
            scorers = message.versions.scorers
            assert scorers[LEARNED] in (one.id, two.id)
            assert scorers[CHALLENGER] == (one.id if scorers[LEARNED] == two.id else "none")
            assert any(OFF in code for code in message.degraded) == (scorers[LEARNED] == two.id)
            assert message.scores[LEARNED] is not None
        assert {m.versions.scorers[LEARNED] for m in messages} == {one.id, two.id}
        same_again(messages, shelf)
