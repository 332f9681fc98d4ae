"""PostgreSQL that takes TLS only and wants a certificate of its users: who gets in, and what the others are told."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from support.certificates import Authority, Certificate
from support.ledgers import OwnPostgres
from support.secure import HOST, secret_file

from features.schema import FeatureSchema
from ledger.sql_store import SqlLedger
from ringwatch.access import postgres_access
from ringwatch.errors import BadInput, RingwatchError
from ringwatch.settings import Settings

pytestmark = pytest.mark.backends
SCHEMA = FeatureSchema()


@dataclass(frozen=True)
class Secured:
    port: int
    folder: Path
    user: str
    password: str
    authority: Authority
    stranger: Authority
    """Nobody trusts it."""
    ours: Certificate

    def ledger(self, host: str = HOST, password: str = "", query: str = "", **changes: Any) -> SqlLedger:
        """As the settings lead to it; changes are settings without their `postgres_`, None takes one away."""
        own = {"ca_file": self.authority.cert, "cert_file": self.ours.cert, "key_file": self.ours.key}
        given = {f"postgres_{name}": value for name, value in {**own, **changes}.items() if value is not None}
        secret = secret_file(self.folder, f"password.{token_hex(4)}", password or self.password)
        settings = Settings(postgres_password_file=secret, **given)
        url = f"postgresql://{self.user}@{host}:{self.port}/postgres{query}"
        return SqlLedger(url, SCHEMA, postgres_access(settings))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, place = tmp_path_factory.mktemp("postgres"), Path(tempfile.mkdtemp(prefix="ringwatch-postgres-"))
    place.chmod(0o755)
    authority = Authority(folder)
    server = OwnPostgres(place, "fsync=off", "shared_buffers=16MB", "ssl=on")
    own = authority.issue("server", f"IP:{HOST}")
    for name, path in (("server.crt", own.cert), ("server.key", own.key), ("root.crt", authority.cert)):
        there = shutil.copy(path, server.data / name)
        if os.geteuid() == 0:
            shutil.chown(there, "postgres", "postgres")
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("ssl_ca_file='root.crt'\n")
    (server.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n")
    server.start()
    try:
        stranger, ours = Authority(folder, "stranger"), authority.issue(server.user)
        yield Secured(server.port, folder, server.user, server.password, authority, stranger, ours)
    finally:
        server.stop()
        shutil.rmtree(place)


def test_a_user_with_password_and_certificate_gets_in(secured: Secured) -> None:
    with closing(secured.ledger()) as ledger:
        ledger.prepare()
        assert ledger.last_seq() == -1


WRONG = "not-the-word"
BARE = dict.fromkeys(("ca_file", "cert_file", "key_file"))
NOT_LET_IN: dict[str, tuple[str, Callable[[Secured], dict[str, Any]]]] = {
    "a wrong password": ("password authentication failed", lambda s: {"password": WRONG}),
    "another authority": ("certificate verify failed", lambda s: {"ca_file": s.stranger.cert}),
    "a name that is not in its certificate": ('does not match host name "localhost"', lambda s: {"host": "localhost"}),
    "no certificate of ours": ("valid client certificate", lambda s: {"cert_file": None, "key_file": None}),
    "a certificate of somebody else": ("authentication failed", lambda s: of("other", s.authority)),
    "a certificate it does not know": ("unknown ca|SSL error|closed", lambda s: of("ringwatch-too", s.stranger)),
    "no TLS": ("no pg_hba.conf entry", lambda s: {**BARE, "query": "?sslmode=disable"}),
}


def of(name: str, authority: Authority) -> dict[str, Path]:
    made = authority.issue(name)
    return {"cert_file": made.cert, "key_file": made.key}


@pytest.mark.parametrize("case", NOT_LET_IN)
def test_who_does_not_get_in_is_told_why(secured: Secured, case: str) -> None:
    told, changes = NOT_LET_IN[case]
    with closing(secured.ledger(**changes(secured))) as ledger, pytest.raises(RingwatchError, match=told) as error:
        ledger.last_seq()
    for secret in (secured.password, WRONG):
        assert secret not in f"{error.value} {error.value!r} {error.value.context}"


def test_a_certificate_of_ours_without_an_authority_for_theirs_is_refused(secured: Secured) -> None:
    with pytest.raises(BadInput, match="without RINGWATCH_POSTGRES_CA_FILE"):
        secured.ledger(ca_file=None)
