"""A person is erased beside a running service: nothing of it is left in the ledger's files, the trail verifies, and all goes on."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from support.cli import Done, ringwatch
from support.served import event, running

AGENT, NOTE, ORDER = "Agent/7.3 of Vera Example", "leave it with the neighbour Ines", "order-of-vera-1"
OTHERS = "Agent/2.0 of everybody else"


def sent(n: int, user: str, agent: str, note: str) -> dict[str, Any]:
    return event(n, user=user, user_agent=agent, order_id=ORDER, attributes={"note": note}, device=f"d-{n % 3}")


def files(data: Path) -> bytes:
    """All that the ledger's database has on disk."""
    return b"".join(path.read_bytes() for path in sorted(data.glob("ledger.sqlite*")))


def key_of(data: Path, user: str) -> bytes:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as connection:
        (wrapped,) = connection.execute("SELECT wrapped FROM personal_keys WHERE subject = ?", (user,)).fetchone()
        return bytes(wrapped)


def replayed(client: httpx.Client, event_id: str) -> Any:
    query = "query($e: String!) { replay(eventId: $e) { identical missing } }"
    answer = client.post("/graphql", json={"query": query, "variables": {"e": event_id}})
    return answer.json()["data"]["replay"]


def degraded(client: httpx.Client, event_id: str) -> Any:
    return client.get(f"/v1/assessments/{event_id}").json()["assessment"]["degraded"]


def erased(data: Path, user: str, *more: str) -> Done:
    return ringwatch("erase", "--user", user, "--reason", "request 4711", "--data-dir", data, *more)


def test_a_person_is_erased_beside_a_running_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as server, server.client() as client:
        for n in range(40):
            user, agent, note = ("vera", AGENT, NOTE) if n % 4 == 0 else (f"u-{n % 7}", OTHERS, f"note {n}")
            assert client.post("/v1/score", json=sent(n, user, agent, note)).status_code == 200
        before = key_of(data, "vera")
        assert before in files(data)
        for said in (AGENT, NOTE, ORDER, OTHERS):
            assert said.encode() not in files(data), "it was sealed all along"
        assert replayed(client, "e-4") == {"identical": True, "missing": None}
        refused = erased(data, "vera")
        assert (refused.code, "--yes" in refused.err) == (2, True)
        done = erased(data, "vera", "--yes", "--json")
        assert done.code == 0, done.err
        found = done.json()
        assert (found["key"], found["events"], found["out_of_files"]) == (True, 10, True)
        assert before not in files(data), "not in the log either"
        assert replayed(client, "e-4")["missing"].startswith("erased")
        assert replayed(client, "e-5") == {"identical": True, "missing": None}
        assert client.post("/v1/score", json=sent(100, "vera", AGENT, NOTE)).status_code == 200
        assert replayed(client, "e-100") == {"identical": True, "missing": None}
        assert key_of(data, "vera") != before
    verified = ringwatch("audit", "verify", "--data-dir", data)
    assert verified.code == 0, verified.out
    shown = ringwatch("audit", "show", "--target", f"subject:{found['token']}", "--data-dir", data, "--json").json()
    assert (shown["did"], shown["why"]) == ("erase", "request 4711")
    assert b"vera" not in msgspec.json.encode(shown)
    with running(data) as server, server.client() as client:
        assert "erased" in degraded(client, "e-4")
        assert "erased" not in degraded(client, "e-100")
    assert erased(data, "nobody", "--yes").code == 2


@pytest.mark.parametrize("lost", ["snapshots", "personal.key"])
def test_memory_is_brought_back_from_a_ledger_with_an_erased_person(tmp_path: Path, lost: str) -> None:
    """From the ledger alone where snapshots are lost; where the key is, the start says so instead of going on without."""
    lines = [sent(n, f"u-{n % 5}", OTHERS, f"note {n}") for n in range(50)]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    data = tmp_path / "data"
    assert ringwatch("ingest", tmp_path / "events.jsonl", "--data-dir", data).code == 0
    assert erased(data, "u-3", "--yes").code == 0
    if lost == "snapshots":
        shutil.rmtree(data / "snapshots")
    else:
        (data / "personal.key").unlink()
    (tmp_path / "more.jsonl").write_bytes(msgspec.json.encode(sent(60, "u-3", AGENT, NOTE)))
    done = ringwatch("ingest", tmp_path / "more.jsonl", "--data-dir", data, "--json")
    if lost == "snapshots":
        assert done.code == 0, done.err
        assert ringwatch("audit", "verify", "--data-dir", data).code == 0
    else:
        assert done.code == 2
        assert "not the one" in done.err
