"""Investigators at work on all four real servers: latency of the ten commonest GraphQL queries, and of explanations one at a time.

    python bench/investigators.py [--events 700000] [--days 3] [--investigators 50] [--think 1.0 0] [--seconds 60] [--json PATH]

Starts Neo4j, Kafka, Redis and PostgreSQL in a folder of its own, one process that answers (`api`) and one that does the rest, sends a simulated
market through Kafka as fast as it goes, and waits until all of it is decided, in the ledger and in the graph. Then each investigator asks one
query after the other, all kinds equally often, about alerts, rings and entities drawn anew for each; between an answer and the next
question they think for a time drawn from an exponential distribution (`--think`, mean in seconds; 0: 50 questions are under way all the time).
A latency runs from the sending to the last byte. The generator shares the machine. `--process` as in kafka_load.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from about import machine
from api_load import Load, Pool, percentiles
from kafka_load import caught_up, send, start_roles

from bus.clients import BusSettings, admin
from bus.topics import Topics
from ingest.simulate.simulate import SimulationConfig, write_simulation
from servers.launcher import Servers

QUERIES = {
    "alerts": "{ alerts(first: 20) { nodes { id level score kind entity text ring lastAt patterns } pageInfo { endCursor hasNextPage } } }",
    "alert": "query($alert: String!) { alert(id: $alert) { id level score text topEventId accounts patterns ring } }",
    "explanation": """query($alert: String!) { explanation(alertId: $alert) { summary reasons { code text contribution }
        flip { score action changes { kind entity feature } } evidence { kind entity text less share } features { name value usual } } }""",
    "cases": "{ cases(first: 20) { nodes { id status priority queue dueAt alertCount claimedBy } } }",
    "rings": "{ rings(first: 20) { nodes { id users risk patterns } } }",
    "ring": """query($ring: String!) { ring(id: $ring) { summary { id users risk } parts { code text value } members(first: 50) { user joinedAt }
        shared(first: 50) { kind entity users verdict } links(first: 100) { user kind id } timeline(first: 20) { nodes { what text at } } } }""",
    "neighbours": """query($kind: String!, $id: String!) { entity(kind: $kind, id: $id) { degree events
        neighbours(first: 20) { nodes { kind id } links { events } } } }""",
    "timeline": """query($kind: String!, $id: String!) { entity(kind: $kind, id: $id) {
        timeline(first: 20) { nodes { eventId type at score level } } } }""",
    "search": "query($text: String!) { search(text: $text) { kind id text } }",
    "blast radius": "query($ring: String!) { blastRadius(ring: $ring) { entries accounts neverFlagged longClean cuts } }",
}


class Known:
    """What there is to ask about."""

    def __init__(self, port: int) -> None:
        self._port = port
        alerts = self._ask("{ alerts(first: 200) { nodes { id ring kind entity accounts } } }")["alerts"]["nodes"]
        rings = self._ask("{ rings(first: 100) { nodes { id } } }")["rings"]["nodes"]
        self.alerts = [a["id"] for a in alerts]
        self.rings = [r["id"] for r in rings]
        self.entities = [("user", u) for a in alerts for u in a["accounts"][:3]]
        self.entities += [(a["kind"], a["entity"]) for a in alerts if a["kind"] not in ("user", "ring")]

    def _ask(self, query: str) -> Any:
        body = json.dumps({"query": query}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql", body, {"content-type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(asked))
        assert "errors" not in answer, answer
        return answer["data"]

    def body(self, name: str, rng: random.Random) -> bytes:
        kind, id_ = rng.choice(self.entities)
        every = {"alert": rng.choice(self.alerts), "ring": rng.choice(self.rings), "kind": kind, "id": id_, "text": id_}
        query = QUERIES[name]
        wanted = {k: v for k, v in every.items() if f"${k}:" in query}
        return json.dumps({"query": query, "variables": wanted}).encode()


async def ask(pool: Pool, known: Known, name: str, rng: random.Random, took: dict[str, list[float]]) -> None:
    body = known.body(name, rng)
    began = time.perf_counter()
    status, content = await pool.post("/graphql", body)
    took[name].append((time.perf_counter() - began) * 1e3)
    if status != 200 or b'"errors"' in content:
        raise SystemExit(f"{name} was answered {status}: {content[:500]!r}")


async def at_work(port: int, known: Known, n: int, think_s: float, seconds: float) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in QUERIES}
    pool = Pool(port, Load())
    await pool.open(n)
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.expovariate(1.0 / think_s) if think_s else 0.0)
        while time.perf_counter() < until:
            await ask(pool, known, rng.choice(list(QUERIES)), rng, took)
            if think_s:
                await asyncio.sleep(rng.expovariate(1.0 / think_s))

    await asyncio.gather(*(one(number) for number in range(n)))
    pool.close()
    return took


async def explained(port: int, known: Known, times: int) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in QUERIES}
    pool, rng = Pool(port, Load()), random.Random(1)
    for _ in range(times):
        await ask(pool, known, "explanation", rng, took)
    pool.close()
    return spread(took["explanation"])


def spread(took: list[float]) -> dict[str, float]:
    return {**percentiles(took), "p95": round(float(np.percentile(took, 95)), 2), "n": len(took)}


def links_of(servers: Servers) -> int:
    import neo4j

    settings = servers.settings
    password = Path(settings["RINGWATCH_NEO4J_PASSWORD_FILE"]).read_text().strip()
    with neo4j.GraphDatabase.driver(settings["RINGWATCH_GRAPH_URL"], auth=("neo4j", password)) as driver:
        return int(driver.execute_query("MATCH ()-[l]->() RETURN count(l) AS n").records[0]["n"])


def measure(args: argparse.Namespace, servers: Servers, folder: Path) -> dict[str, Any]:
    topics = Topics("investigators")
    key = folder / "audit.key"
    key.write_text(os.urandom(32).hex())
    env = {
        **os.environ, **servers.settings, "RINGWATCH_TOPIC_PREFIX": topics.prefix, "RINGWATCH_AUDIT_KEY_FILE": str(key),
        "RINGWATCH_MAX_ENTITIES": "4000000",
    }  # fmt: skip
    url = servers.settings["RINGWATCH_BUS_URL"]
    topics.create(admin(BusSettings.from_url(url)), partitions=1)
    write_simulation(SimulationConfig(events=args.events, seed=args.seed, days=args.days), folder / "market")
    lines = [x for x in (folder / "market" / "events.jsonl").read_bytes().splitlines() if b'"type":"label"' not in x]
    tell(f"{len(lines):,} events of the market")
    started, ports = start_roles(args.process, env, folder)
    try:
        send(url, topics.events, lines, None)
        loaded_s = caught_up(ports, args.patience, len(lines))
        links = links_of(servers)
        tell(f"decided and written in {loaded_s:.0f} s; {links:,} links")
        port = ports[next(name for name in ports if "api" in name or name == "all")]
        known = Known(port)
        asyncio.run(at_work(port, known, args.investigators, 1.0, 10.0))
        alone = asyncio.run(explained(port, known, 300))
        tell(f"explanations alone: {alone}")
        runs = []
        for think_s in args.think:
            took = asyncio.run(at_work(port, known, args.investigators, think_s, args.seconds))
            every = [x for some in took.values() for x in some]
            runs.append({
                "think_s": think_s, "questions_a_second": round(len(every) / args.seconds, 1), "all": spread(every),
                **{name: spread(some) for name, some in took.items()}, "load_average_1m": round(os.getloadavg()[0], 2),
            })  # fmt: skip
            tell(json.dumps(runs[-1]))
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        for process in started.values():
            process.wait(90)
    return {
        "links": links, "events": len(lines), "loaded_s": round(loaded_s), "alerts": len(known.alerts), "rings": len(known.rings),
        "investigators": args.investigators, "explanation_alone": alone, "runs": runs,
    }  # fmt: skip


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=700_000)
    parser.add_argument("--days", type=int, default=3, help="of the market: fewer days are more users, and more links")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--investigators", type=int, default=50)
    parser.add_argument("--think", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--patience", type=float, default=3000.0, help="seconds to wait for the market")
    parser.add_argument("--process", nargs="+", default=["api", "scorer,ring-keeper,ledger-writer,graph-writer"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    head = machine()
    with tempfile.TemporaryDirectory() as name:
        servers = Servers(Path(name) / "servers", lambda server, line: tell(f"{server}: {line}"))
        servers.up()
        try:
            found = measure(args, servers, Path(name))
        finally:
            servers.delete()
    text = json.dumps({"machine": head, "processes": args.process, **found}, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
