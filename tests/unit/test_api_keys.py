"""Keys: hashed, bound to a tenant, revoked at once; deny by default."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.served import event, in_process

from api.guard import Access, is_loopback
from api.keys import DEFAULT_SCOPES, FILE, SCOPES, KeyFile
from ringwatch.errors import BadInput, Corrupt, Denied, NotFound


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path, lambda: 1000.0)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with in_process(tmp_path_factory.mktemp("api") / "data") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make(client: Any, tenant: str, *scopes: str) -> tuple[str, dict[str, str]]:
    key, token = client.here.access.keys.create(tenant, "test", scopes or DEFAULT_SCOPES)
    return key.key_id, bearer(token)


def test_the_file_has_no_key_in_it_and_is_for_its_owner(keys: KeyFile, tmp_path: Path) -> None:
    key, token = keys.create("acme", "ci", DEFAULT_SCOPES)
    text = (tmp_path / FILE).read_text()
    assert token.split("_", 2)[2] not in text
    assert key.key_id in text
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert keys.caller(token).tenant == "acme"


@pytest.mark.parametrize(
    "change", ["", "x", "rw_", "rw__", lambda t: t[:-1], lambda t: t + "A", lambda t: "rw_0_" + t[5:]]
)
def test_anything_else_is_no_key(keys: KeyFile, change: Any) -> None:
    _, token = keys.create("acme", "ci", DEFAULT_SCOPES)
    with pytest.raises(Denied):
        keys.caller(change(token) if callable(change) else change)


def test_expired_and_revoked_keys_are_refused_by_a_reader_that_was_there_before(tmp_path: Path) -> None:
    now = [1000.0]
    reader, other = KeyFile(tmp_path, lambda: now[0]), KeyFile(tmp_path, lambda: now[0])
    _, short = other.create("acme", "short", DEFAULT_SCOPES, days=1)
    _, long = other.create("acme", "long", DEFAULT_SCOPES)
    assert reader.caller(short).tenant == reader.caller(long).tenant == "acme"
    now[0] += 86_400
    with pytest.raises(Denied):
        reader.caller(short)
    other.revoke("long")
    with pytest.raises(Denied):
        reader.caller(long)
    with pytest.raises(NotFound):
        other.revoke("long")


def test_a_file_that_vanishes_opens_nothing_and_a_broken_one_neither(keys: KeyFile, tmp_path: Path) -> None:
    keys.create("acme", "ci", DEFAULT_SCOPES)
    assert keys.required()
    (tmp_path / FILE).unlink()
    assert keys.required()
    (tmp_path / FILE).write_text("{")
    with pytest.raises(Corrupt):
        keys.required()


def test_an_unknown_scope_is_refused(keys: KeyFile) -> None:
    with pytest.raises(BadInput):
        keys.create("acme", "ci", ("admin",))


def test_last_use_is_noted(keys: KeyFile) -> None:
    key, token = keys.create("acme", "ci", DEFAULT_SCOPES)
    keys.caller(token)
    keys.note_use()
    assert keys.last_used() == {key.key_id: 1000}


def test_without_keys_only_loopback_is_open(keys: KeyFile) -> None:
    assert not Access(keys, tenant="t", loopback=True).keys_needed
    with pytest.raises(Denied):
        Access(keys, tenant="t", loopback=False).caller("", "")
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "evil.test")] == [
        True
    ] * 3 + [False] * 3


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "evil.test:8000", "", "localhost@evil.test"])
def test_another_host_name_is_refused_on_loopback(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:8000", "LOCALHOST:1"])
def test_local_names_are_taken(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_with_keys_everything_but_health_needs_one(client: TestClient) -> None:
    make(client, "acme")
    for path in (
        "/v1/alerts",
        "/v1/rings",
        "/status",
        "/metrics",
        "/graphql",
        "/docs",
        "/",
        "/openapi.json",
        "/nowhere",
        "/rings/x/view",
    ):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/v1/score", "/v1/events", "/v1/labels", "/graphql"):
        assert client.post(path, json={}).status_code == 401
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_key_comes_as_bearer_header_or_password(client: TestClient) -> None:
    _, auth = make(client, "acme")
    token = auth["authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"anyone:{token}".encode()).decode()
    for headers in (auth, {"x-api-key": token}, {"authorization": f"Basic {basic}"}):
        assert client.get("/status", headers=headers).json()["tenant"] == "acme"
    for wrong in ("Basic !!", "Basic", "Bearer", "Digest x", f"Bearer {token}x"):
        assert client.get("/status", headers={"authorization": wrong}).status_code == 401


def test_a_key_opens_its_tenant_only(client: TestClient) -> None:
    _, acme = make(client, "acme")
    _, globex = make(client, "globex")
    assert client.post("/v1/score", json=event("own"), headers=acme).json()["tenant"] == "acme"
    assert client.post("/v1/score", json=event("own", amount=3), headers=globex).json()["tenant"] == "globex"
    assert client.post("/v1/score", json=event("x", tenant="globex"), headers=acme).json()["code"] == "denied"
    assert client.get("/v1/assessments/e-own", headers=acme).json()["event"]["amount_minor"] == 1250
    assert client.get("/status", headers=globex).json()["counts"]["assessments"] == 1
    assert client.get("/status", headers=globex).json()["totals"] is None
    query = {"query": '{ assessment(eventId: "e-own") { amountMinor } entity(kind: "user", id: "u-own") { events } }'}
    found = client.post("/graphql", json=query, headers=globex).json()["data"]
    assert found["assessment"] == {"amountMinor": 300}


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        ("read", "POST", "/v1/score", False),
        ("read", "POST", "/v1/labels", False),
        ("read", "GET", "/metrics", False),
        ("read", "GET", "/v1/alerts", True),
        ("score", "GET", "/v1/alerts", False),
        ("score", "POST", "/graphql", False),
        ("label", "POST", "/v1/events", False),
        ("operate", "GET", "/metrics", True),
    ],
)
def test_scopes(client: TestClient, scope: str, method: str, path: str, allowed: bool) -> None:
    _, auth = make(client, "acme", scope)
    answer = client.request(method, path, headers=auth, json={} if method == "POST" else None)
    assert (answer.status_code != 403) is allowed


def test_a_revoked_key_is_refused_with_the_next_request(client: TestClient) -> None:
    key_id, auth = make(client, "acme", *SCOPES)
    assert client.get("/status", headers=auth).status_code == 200
    client.here.access.keys.revoke(key_id)  # type: ignore[attr-defined]
    assert client.get("/status", headers=auth).status_code == 401
