"""Labels through both doors: each counts once, in the state, the ledger and on the topic."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from support.cluster import ONE, Cluster
from support.expected import events_of, expected

from bus.clients import producer
from bus.messages import LabelMessage
from features.columns import ResolvedLabel
from ringwatch.model import Label
from roles.logs import DecisionsLog
from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]
KNOWN_AT = "2026-02-01T00:00:00Z"
KNOWN_AT_US = 1_769_904_000_000_000


def label(event_id: str, value: str) -> bytes:
    return json.dumps({"type": "label", "label_of": {"event": event_id}, "label": value, "known_at": KNOWN_AT}).encode()


def test_labels_count_once(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    lines = lines[:600]
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        events = [e for e in events_of(lines, cluster.tenant) if e.user is not None][:30]
        given = [(e, "fraud" if i % 3 == 0 else "good") for i, e in enumerate(events)]
        cluster.start(ONE)
        cluster.send(lines)
        cluster.await_all(len(lines))
        client = producer(cluster.bus)
        for event, value in given[:20] * 2:
            client.produce(cluster.topics.labels, label(event.event_id, value), b"k")
        assert client.flush(20) == 0
        cluster.eventually(lambda: cluster.ledger().counts()["labels"] == 20, 60, "20 labels in the ledger")
        for event, value in given[20:] * 2:
            request = urllib.request.Request(
                f"http://127.0.0.1:{cluster.ports[f'{ONE}/0']}/v1/labels", label(event.event_id, value),
                {"Content-Type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status in (200, 202)
        cluster.eventually(lambda: cluster.ledger().counts()["labels"] == 30, 60, "all labels in the ledger")
        log = DecisionsLog(cluster.bus, cluster.topics.decisions)
        told = [m.label.target_id for _, _, m in log.read({}) if isinstance(m, LabelMessage)]
        assert told == [e.event_id for e, _ in given]
        want.state.apply(
            [
                ResolvedLabel(
                    Label("event", e.event_id, "fraud" if v == "fraud" else "good", KNOWN_AT_US, cluster.tenant),
                    e.entities,
                )
                for e, v in given
            ]
        )
        cluster.check_state(want)
        cluster.redis().flushall()
        cluster.eventually(
            lambda: cluster.redis().exists("rw:epoch") == 1 and cluster.redis().exists("rw:rebuild") == 0,
            90, "the state is rebuilt",
        )  # fmt: skip
        cluster.check_state(want)
