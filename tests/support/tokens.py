"""An issuer of tokens for tests: keys made on the spot, a JWKS in a file or at an address of this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://login.example", "ringwatch"


def make(algorithm: str) -> Any:
    """A private key for it."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        return ec.generate_private_key(
            {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]()
        )
    return rsa.generate_private_key(65537, 2048)


def pem_of(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk_of(key: Any, algorithm: str, kid: str | None) -> dict[str, Any]:
    of = jwt.get_algorithm_by_name(algorithm)
    found = {**json.loads(of.to_jwk(key.public_key())), "use": "sig"}
    return found if kid is None else {**found, "kid": kid}


def claims(role: object = "viewer", tenant: object = "acme", **more: Any) -> dict[str, Any]:
    """Good ones; None leaves a claim out."""
    now = int(time.time())
    given = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 600, "nbf": now - 5, "iat": now, "role": role,
        "tenant": tenant, **more,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def sign(key: Any, algorithm: str, given: dict[str, Any], kid: str | None = None, **header: Any) -> str:
    """Whatever the claims are: the library's own way to make one refuses what it would not take."""
    named = {"typ": "JWT", **({"kid": kid} if kid else {}), **header}
    return jwt.PyJWS().encode(json.dumps(given).encode(), key, algorithm, named)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Published:
    """What an address answers, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.status = 200
        self.hold = threading.Event()
        """Answers wait for it."""
        self.hold.set()
        self.url = ""


@contextmanager
def published() -> Iterator[Published]:
    here = Published()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked += 1
            here.hold.wait(20)
            body = json.dumps({"keys": here.keys}).encode()
            self.send_response(here.status)
            if here.status == 302:
                self.send_header("Location", here.url.replace("/keys", "/elsewhere"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    here.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        here.hold.set()
        server.shutdown()
        server.server_close()
