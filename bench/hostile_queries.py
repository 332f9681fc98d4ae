"""How long it takes to refuse GraphQL documents that are made to hurt: over HTTP, one at a time, to a server of its own on loopback.

    python bench/hostile_queries.py [--times 300] [--json PATH]

Each kind must be refused: an answer with errors, or a status of 4xx. A latency runs from the sending to the last byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from about import machine
from api_load import Load, Pool, percentiles, start
from rich.console import Console
from rich.table import Table


def documents() -> dict[str, bytes]:
    """Kind -> body."""
    deep = "entity(kind: $k, id: $k) { neighbours { nodes { kind } } }"
    fragments = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    introspection = (
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"
    )
    queries = {
        "depth: braces": "{ a" * 400 + " }" * 400,
        "depth: fields": "{ cases { nodes " + "{ alerts { case " * 17 + "{ id } " + "} }" * 17 + "} }",
        "aliases": "{ " + " ".join(f"a{n}: alert(id: \"x\") {{ id }}" for n in range(200)) + " }",
        "cost: lists in lists": "{ cases(first: 100) { nodes { alerts(first: 200) { query accounts patterns text } } } }",
        "cost: one dear field often": "{ " + " ".join(f'e{n}: explanation(eventId: "x") {{ score }}' for n in range(15)) + " "
        + " ".join(f'x{n}: blastRadius(kind: "device", id: "d") {{ accounts }}' for n in range(15)) + " }",
        "tokens": "{ " + "alerts " * 5000 + "}",
        "fragments that double": "{ ...f0 } " + fragments + " fragment f40 on Query { alerts { nodes { id } } }",
        "fragments in a circle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "many operations": " ".join(f"query q{n} {{ alerts {{ nodes {{ id }} }} }}" for n in range(59)),
        "directives": "{ alerts " + "@skip(if: false) " * 95 + "{ nodes { id } } }",
        "directives, beyond the tokens": "{ alerts " + "@skip(if: false) " * 800 + "{ nodes { id } } }",
        "introspection, deep": introspection,
        "unknown fields": "{ " + " ".join(f"unknown{n}" for n in range(295)) + " }",
        "unknown fields, beyond their number": "{ " + " ".join(f"unknown{n}" for n in range(590)) + " }",
        "unknown fields, beyond the tokens": "{ " + " ".join(f"unknown{n}" for n in range(900)) + " }",
        "unknown variables": "query(" + " ".join(f"$v{n}: X" for n in range(110)) + ") { alerts { nodes { id } } }",
        "unknown arguments": "{ alerts(" + " ".join(f"a{n}: 1" for n in range(190)) + ") { nodes { id } } }",
        "an open brace": "{ alerts { nodes { id }",
        "variables in a list": f"query($k: String!) {{ {deep} }}",
    }  # fmt: skip
    bodies = {name: json.dumps({"query": query}).encode() for name, query in queries.items()}
    bodies["1 MB of query"] = json.dumps({"query": "{ alerts { nodes { id } } } #" + "x" * 1_000_000}).encode()
    bodies["1 MB of variables"] = json.dumps(
        {"query": "{ alerts { pageInfo { endCursor hasNextPage } } }", "variables": {"x": ["y" * 1000] * 1000}}
    ).encode()
    bodies["brackets in JSON"] = b'{"query": ' + b"[" * 100_000
    bodies["no JSON"] = b"\xff" * 1000
    return bodies


async def measure(port: int, times: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, body in documents().items():
        took = []
        for n in range(times + 20):
            pool = Pool(port, Load())
            began = time.perf_counter()
            status, content = await pool.post("/graphql", body)
            ended = time.perf_counter()
            pool.close()
            if status == 200 and b'"errors"' not in content:
                raise SystemExit(f"{name} was answered: {content[:300]!r}")
            if n >= 20:
                took.append((ended - began) * 1e3)
        found[name] = {**percentiles(took), "bytes": len(body), "status": status}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        server, port = start(Path(folder) / "data")
        try:
            found = asyncio.run(measure(port, given.times))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    shown = Table("refused", "bytes", "status", "median ms", "p99 ms", "slowest ms")
    for name, f in found.items():
        shown.add_row(
            name, f"{f['bytes']:,}", str(f["status"]), f"{f['p50']:.2f}", f"{f['p99']:.2f}", f"{f['max']:.2f}"
        )
    Console(highlight=False).print(shown)
    worst = max(f["p99"] for f in found.values())
    print(f"worst p99 {worst:.2f} ms, worst median {np.max([f['p50'] for f in found.values()]):.2f} ms")
    if given.json is not None:
        given.json.write_text(json.dumps({"machine": about, "times": given.times, "kinds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
