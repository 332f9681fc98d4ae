"""Tokens of an issuer: what is checked, where keys come from, and how they change."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.served import event, in_process
from support.tokens import AUDIENCE, ISSUER, bearer, claims, jwk_of, make, pem_of, published, sign

from api.guard import Access
from api.jwt_keys import KeysAtUrl, KeysInFile, keys_of
from api.jwt_tokens import JwtTokens, Wanted
from api.keys import ROLES, KeyFile
from ringwatch.callers import open_tokens
from ringwatch.commands.serve import check_keys
from ringwatch.errors import BadInput, Denied
from ringwatch.settings import Settings

WANTED = Wanted(ISSUER, AUDIENCE)
KEY, OTHER = make("ES256"), make("ES256")
KINDS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "keys").write_bytes(pem_of(KEY))
    return tmp_path / "keys"


@pytest.fixture
def tokens(file: Path) -> JwtTokens:
    return JwtTokens(WANTED, KeysInFile(file))


def code_of(tokens: JwtTokens, token: str) -> str:
    with pytest.raises(Denied) as refused:
        tokens.caller(token)
    return str(refused.value.context.get("code", "denied"))


@pytest.mark.parametrize("algorithm", KINDS)
@pytest.mark.parametrize("form", ["pem", "jwks"])
def test_each_algorithm_is_checked_with_keys_of_either_form(tmp_path: Path, algorithm: str, form: str) -> None:
    key, path = make(algorithm), tmp_path / "keys"
    jwks = json.dumps({"keys": [jwk_of(make("ES256"), "ES256", "x"), jwk_of(key, algorithm, "k")]}).encode()
    path.write_bytes(pem_of(key) if form == "pem" else jwks)
    who = JwtTokens(WANTED, KeysInFile(path)).caller(sign(key, algorithm, claims("lead"), "k"))
    assert (who.name, who.tenant, who.scopes, who.leads) == ("jwt:anna", "acme", ROLES["lead"], True)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"exp": int(time.time()) - 31}, "unauthenticated"),
        ({"exp": None}, "unauthenticated"),
        ({"exp": "soon"}, "unauthenticated"),
        ({"exp": 1e400}, "unauthenticated"),
        ({"nbf": int(time.time()) + 600}, "unauthenticated"),
        ({"iss": "https://evil.example"}, "unauthenticated"),
        ({"iss": None}, "unauthenticated"),
        ({"iss": [ISSUER]}, "unauthenticated"),
        ({"aud": "another"}, "unauthenticated"),
        ({"aud": None}, "unauthenticated"),
        ({"sub": None}, "unauthenticated"),
        ({"sub": 7}, "unauthenticated"),
        ({"sub": ""}, "unauthenticated"),
        ({"sub": "a\nb"}, "unauthenticated"),
        ({"sub": "a" * 201}, "unauthenticated"),
        ({"tenant": None}, "denied"),
        ({"tenant": "a b"}, "denied"),
        ({"tenant": ["acme"]}, "denied"),
        ({"role": None}, "denied"),
        ({"role": "boss"}, "denied"),
        ({"role": ["boss", 7, None]}, "denied"),
        ({"role": {"viewer": True}}, "denied"),
    ],
)
def test_a_claim_that_is_wrong_or_missing_opens_nothing(tokens: JwtTokens, given: dict[str, Any], code: str) -> None:
    assert code_of(tokens, sign(KEY, "ES256", claims(**given))) == code


def test_claims_within_the_leeway_lists_and_other_names_are_taken(file: Path) -> None:
    now = int(time.time())
    other = JwtTokens(Wanted(ISSUER, AUDIENCE, "https://x.example/org", "groups"), KeysInFile(file))
    given = {"https://x.example/org": "globex", "groups": ["staff", "viewer", "service"], "aud": ["a", AUDIENCE]}
    who = other.caller(sign(KEY, "ES256", claims("admin", exp=now - 20, nbf=now + 20, **given)))
    assert (who.tenant, who.scopes) == ("globex", ("score", "read", "label"))


def forged() -> Iterator[tuple[str, str]]:
    good = sign(KEY, "ES256", claims("admin"))
    head, body, tail = good.split(".")
    yield "another key", sign(OTHER, "ES256", claims("admin"))
    yield "no algorithm", jwt.encode(claims("admin"), "", algorithm="none")
    yield "no algorithm, signed", f"{jwt.encode(claims('admin'), '', algorithm='none').split('.')[0]}.{body}.{tail}"
    yield "no signature", f"{head}.{body}."
    yield "half a signature", good[:-20]
    yield "other claims", f"{head}.{sign(OTHER, 'ES256', claims('admin', 'globex')).split('.')[1]}.{tail}"
    for header in ({"jwk": jwk_of(OTHER, "ES256", "o")}, {"jku": "http://127.0.0.1:1/keys"}, {"crit": ["x"], "x": 1}):
        yield str(list(header)), sign(OTHER, "ES256", claims("admin"), **header)
    secret = pem_of(KEY)

    def text(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    for algorithm in ("HS256", "hs256", ["ES256"], None, {"a": 1}, 7):
        signed = f"{text(json.dumps({'alg': algorithm, 'typ': 'JWT'}).encode())}.{body}"
        yield f"{algorithm} by the public key", f"{signed}.{text(hmac.digest(secret, signed.encode(), 'sha256'))}"
    yield "deep", f"{text(b'[' * 5000)}.{body}.{tail}"
    yield "long", good + "A" * 9000
    yield from (("odd", odd) for odd in ("", ".", "..", "a.b.c", "\xff.\xff.\xff", "e30.e30.", f"{good}.{tail}"))


@pytest.mark.parametrize(("name", "token"), list(forged()))
def test_what_the_issuer_did_not_sign_is_refused_and_nothing_is_said_of_why(
    tokens: JwtTokens, name: str, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(Denied) as refused:
        tokens.caller(token)
    assert (refused.value.message, refused.value.context) == ("this token is not taken", {"code": "unauthenticated"})
    assert len(token) < 5 or token not in caplog.text


def test_the_log_says_why_without_the_token(tokens: JwtTokens, caplog: pytest.LogCaptureFixture) -> None:
    from api import jwt_tokens

    for filter_ in jwt_tokens.log.filters:
        filter_._said.clear()  # type: ignore[union-attr]
    token = sign(KEY, "ES256", claims(exp=int(time.time()) - 60))
    code_of(tokens, token)
    assert "ExpiredSignatureError" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))


def test_a_token_is_checked_once_until_its_time_is_over(file: Path) -> None:
    tokens, token = JwtTokens(WANTED, KeysInFile(file)), sign(KEY, "ES256", claims(exp=int(time.time()) - 27))
    assert tokens.caller(token) is tokens.caller(token), "checked once"
    until = time.time() + 20
    while time.time() < until:
        try:
            tokens.caller(token)
        except Denied:
            return
        time.sleep(0.1)
    raise AssertionError("it is taken for ever")


def test_a_key_file_is_read_again_when_it_changes(file: Path) -> None:
    tokens = JwtTokens(WANTED, KeysInFile(file))
    old, new = sign(KEY, "ES256", claims()), sign(OTHER, "ES256", claims())
    assert tokens.caller(old).tenant == "acme"
    assert code_of(tokens, new) == "unauthenticated"
    replace(file, pem_of(KEY) + pem_of(OTHER))
    assert tokens.caller(old).tenant == tokens.caller(new).tenant == "acme"
    replace(file, pem_of(OTHER))
    assert tokens.caller(new).tenant == "acme"
    assert code_of(tokens, old) == "unauthenticated", "also a token that was taken before"
    replace(file, b"half a file")
    assert tokens.caller(new).tenant == "acme", "those before stay"
    assert "those before stay" in tokens.source.trouble
    file.unlink()
    assert tokens.caller(new).tenant == "acme"
    replace(file, pem_of(KEY))
    assert (tokens.caller(old).tenant, tokens.source.trouble) == ("acme", "")


def replace(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    os.replace(part, file)


def test_only_public_keys_strong_enough_are_taken() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    of_private = {**json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(KEY)), "kid": "p"}
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
    for text in (
        b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": [7]}', private, pem_of(weak), json.dumps({"keys": [of_private]}).encode(),
        json.dumps({"keys": [secret]}).encode(), b'{"keys": [{"kty": "RSA"}]}',
        json.dumps({"keys": [{**jwk_of(KEY, "ES256", "e"), "use": "enc"}]}).encode(),
        json.dumps({"keys": [{**jwk_of(KEY, "ES256", "e"), "alg": "ES384"}]}).encode(),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            keys_of(text)
    mixed = {"keys": [secret, {"kty": "new"}, jwk_of(KEY, "ES256", "k")]}
    assert [(k.kid, k.algorithms) for k in keys_of(json.dumps(mixed).encode())] == [("k", ("ES256",))]


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def at(tmp_path: Path, url: str, now: Time) -> Access:
    source = KeysAtUrl(url, now)
    return Access(KeyFile(tmp_path, time.time), tenant="t", loopback=True, tokens=JwtTokens(WANTED, source))


def admitted(access: Access, token: str) -> str:
    try:
        return asyncio.run(access.admitted(f"Bearer {token}", "")).name
    except Denied:
        return "denied"


def test_a_new_key_is_asked_for_once_in_ten_seconds_and_old_ones_outlive_an_outage(tmp_path: Path) -> None:
    now = Time()
    old, new, unknown = (sign(k, "ES256", claims(), kid) for k, kid in ((KEY, "1"), (OTHER, "2"), (make("ES256"), "3")))
    with published() as here:
        here.keys = [jwk_of(KEY, "ES256", "1")]
        access = at(tmp_path, here.url, now)
        assert (admitted(access, old), here.asked) == ("jwt:anna", 1)
        here.keys.append(jwk_of(OTHER, "ES256", "2"))
        now.now = 9.9
        assert (admitted(access, new), here.asked) == ("denied", 1)
        now.now = 10.0
        assert (admitted(access, new), here.asked) == ("jwt:anna", 2)
        for _ in range(20):
            assert admitted(access, unknown) == "denied"
        assert here.asked == 2
        here.status, now.now = 500, 1000.0
        assert admitted(access, unknown) == "denied"
        assert admitted(access, old) == admitted(access, new) == "jwt:anna"
        assert "jwt_keys" in access.troubles()
    now.now = 2000.0
    assert admitted(access, old) == "jwt:anna", "nobody is at the address"


def test_a_withdrawn_key_is_forgotten_within_minutes(tmp_path: Path) -> None:
    now, old = Time(), sign(KEY, "ES256", claims(), "1")
    with published() as here:
        here.keys = [jwk_of(KEY, "ES256", "1")]
        access = at(tmp_path, here.url, now)
        assert admitted(access, old) == "jwt:anna"
        here.keys, now.now = [jwk_of(OTHER, "ES256", "2")], 301.0
        admitted(access, old)
        until = time.monotonic() + 10
        while admitted(access, old) != "denied":
            assert time.monotonic() < until
            time.sleep(0.01)


def test_the_event_loop_goes_on_while_keys_are_asked_for(tmp_path: Path) -> None:
    token = sign(KEY, "ES256", claims(), "1")

    async def main() -> int:
        asked = [asyncio.create_task(access.admitted(f"Bearer {token}", "")) for _ in range(50)]
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in asked)
        here.hold.set()
        return [who.name for who in await asyncio.gather(*asked)].count("jwt:anna")

    with published() as here:
        here.keys = [jwk_of(KEY, "ES256", "1")]
        here.hold.clear()
        access = at(tmp_path, here.url, Time())
        assert asyncio.run(main()) == 50
        assert here.asked == 1, "all wait for one answer"


def test_an_answer_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    with published() as here:
        here.keys, here.status = [jwk_of(KEY, "ES256", "1")], 302
        assert admitted(at(tmp_path, here.url, Time()), sign(KEY, "ES256", claims(), "1")) == "denied"
        assert here.asked == 1


@pytest.mark.parametrize(
    "given",
    [
        {"jwt_issuer": ISSUER},
        {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE},
        {"jwt_audience": AUDIENCE, "jwt_key_file": "keys"},
        {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_key_file": "keys", "jwt_jwks_url": "https://x.example/k"},
        {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_key_file": "nowhere"},
        {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": "http://login.example/keys"},
        {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": "https://me:secret@login.example/keys"},
    ],
)
def test_settings_that_do_not_go_together_stop_the_start(file: Path, given: dict[str, Any]) -> None:
    if given.get("jwt_key_file") == "keys":
        given = {**given, "jwt_key_file": file}
    with pytest.raises(BadInput) as refused:
        open_tokens(Settings(**given))
    assert "secret" not in str(refused.value)


def test_an_issuer_closes_the_open_door_and_opens_it_beyond_loopback(file: Path, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", host="0.0.0.0", jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_key_file=file
    )
    check_keys(settings, KeyFile(tmp_path, time.time), local_key=False)
    token = sign(KEY, "ES256", claims("admin", sub="anna@example"))
    with in_process(
        tmp_path / "data", **settings.model_dump(include={"jwt_issuer", "jwt_audience", "jwt_key_file"})
    ) as client:
        assert client.get("/status").status_code == 401
        assert client.get("/status", headers={"x-api-key": token}).status_code == 401
        assert client.get("/status", headers=bearer(token)).json()["tenant"] == "acme"
        assert client.get("/status", headers={"x-tenant": "globex", **bearer(token)}).json()["tenant"] == "acme"
        assert client.post("/v1/score", json=event("own"), headers=bearer(token)).json()["tenant"] == "acme"
        refused = client.post("/v1/score", json=event("x", tenant="globex"), headers=bearer(token))
        assert refused.json()["code"] == "denied"
        key = client.here.access.keys.create("globex", "ci", ("read",))[1]  # type: ignore[attr-defined]
        assert client.get("/status", headers=bearer(key)).json()["tenant"] == "globex"
        decide = """mutation { decide(input: {verdict: "allow", kind: "user", id: "u-1", reason: "why"}) { ... on Act { who } } }"""
        made = client.post("/graphql", json={"query": decide}, headers=bearer(token)).json()
        assert made["data"]["decide"]["who"] == "jwt:anna@example"


def test_without_keys_at_first_it_begins_and_says_so(tmp_path: Path) -> None:
    with published() as here:
        here.status = 500
        given = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": here.url}
        with in_process(tmp_path / "data", **given) as client:
            assert client.get("/readyz").json() == {"ready": True, "degraded": ["jwt_keys"]}
            assert client.get("/status", headers=bearer(sign(KEY, "ES256", claims()))).status_code == 401
