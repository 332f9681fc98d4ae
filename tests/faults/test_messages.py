"""What senders do wrong: the same again, in another order, and what is no event at all."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from support.cluster import ONE, Cluster
from support.expected import expected

from servers.launcher import Servers

pytestmark = [pytest.mark.backends, pytest.mark.slow]


def test_duplicates_and_poison(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Each event again once or twice, some with another content under the same id, and bytes of all sorts between them and on our topics."""
    rng = random.Random(9)
    lines = lines[:1500]
    poison = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"event_id":"x"}', b'{"type":"payment"}', b"{" * 5000,
              b'{"event_id":"c1","type":"payment","at":"2026-01-05T00:00:00Z","user":"4539578763621486","amount":1}',
              b'{"event_id":"t1","type":"payment","at":"2026-01-05T00:00:00Z","user":"u","tenant":"somebody-else"}',
              b'{"event_id":"f1","type":"payment","at":"2999-01-05T00:00:00Z","user":"u"}']  # fmt: skip
    stream: list[bytes] = []
    conflicts = 0
    for i, line in enumerate(lines):
        stream.append(line)
        for _ in range(rng.choice([0, 0, 1, 2])):
            stream.append(rng.choice(lines[: i + 1]))
        if i % 100 == 50:
            stream.append(json.dumps({**json.loads(line), "channel": "other"}).encode())
            conflicts += 1
        if i % 50 == 0:
            stream.append(rng.choice(poison))
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(ONE)
        for topic in (cluster.topics.decisions, cluster.topics.alerts, cluster.topics.rings):
            cluster.put(topic, poison)
        cluster.send(stream)
        cluster.await_all(len(lines))
        cluster.eventually(lambda: len(cluster.dead_letters()) >= conflicts + 30, 60, "the dead letters")
        cluster.check_all(want)
        letters = cluster.dead_letters()
        codes = Counter(letter.code for letter in letters)
        assert codes["conflict"] == conflicts
        assert len(letters) == conflicts + 30
        assert all(letter.reason and letter.source.topic == cluster.topics.events for letter in letters)
        assert b"4539578763621486" not in b"".join(cluster.read(cluster.topics.dlq))


def test_reordered(fault_servers: Servers, lines: list[bytes], folder: Path) -> None:
    """Events up to some hundreds of places out of order: as if they had been sent in that order."""
    rng = random.Random(2)
    lines = [line for _, line in sorted(enumerate(lines[:1500]), key=lambda pair: pair[0] + rng.random() * 300)]
    with Cluster(fault_servers, folder) as cluster:
        want = expected(lines, cluster.tenant)
        cluster.start(ONE)
        cluster.send(lines)
        cluster.await_all(len(lines))
        cluster.check_all(want)
