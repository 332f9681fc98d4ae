"""The ledger and the PostgreSQL server it is on: one that goes and comes, cuts it off, refuses it, is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url
from support.backends import PostgresBackend, absent
from support.ledgers import OwnPostgres, fresh_ledger, scored

from features.schema import FeatureSchema
from ledger.postgres import PostgresAccess, postgres_url
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress, Written
from ringwatch.errors import BadInput, ServerDenied, Unavailable
from scorers.decision import Decisions

pytestmark = pytest.mark.backends
SCHEMA = FeatureSchema()
FULL_MB = 96


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return scored(600)


@pytest.fixture
def url(postgres_server: PostgresBackend) -> Iterator[str]:
    with fresh_ledger(postgres_server) as found:
        yield found


@pytest.fixture
def own_server(request: pytest.FixtureRequest) -> Iterator[OwnPostgres]:
    """A server that is stopped, or filled up, by one test; with `FULL_MB` of disk where the test asks for it."""
    small = getattr(request, "param", None) == "small"
    with ExitStack() as closing_up:
        folder = Path(tempfile.mkdtemp(prefix="ringwatch-postgres-"))
        closing_up.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        if small:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={FULL_MB}m", "none", str(folder)]
            if subprocess.run(mount, capture_output=True, timeout=20).returncode:
                raise absent("a small disk cannot be mounted here: run as root, where mount is allowed")
            closing_up.callback(subprocess.run, ["umount", str(folder)], check=True, timeout=20)
        server = OwnPostgres(folder, "fsync=off", "max_wal_size=32MB", "min_wal_size=32MB", "shared_buffers=16MB")
        closing_up.callback(server.stop)
        server.start()
        yield server


def test_a_server_that_restarts_costs_what_was_under_way(own_server: OwnPostgres, decisions: Decisions) -> None:
    with closing(SqlLedger(own_server.url, SCHEMA)) as ledger:
        ledger.prepare()
        ledger.write(LedgerWrite(decisions.select(0, 10)))
        own_server.stop()
        with pytest.raises(Unavailable) as refused:
            ledger.write(LedgerWrite(decisions.select(10, 20)))
        assert own_server.password not in str(refused.value)
        with pytest.raises(Unavailable, match="cannot be read"):
            ledger.last_seq()
        own_server.start()
        assert ledger.last_seq() == 9
        ledger.write(LedgerWrite(decisions.select(10, 20)))
        own_server.stop()
        own_server.start()
        ledger.write(LedgerWrite(decisions.select(20, 30)))
        assert ledger.counts()["assessments"] == 30


def test_a_connection_cut_in_a_write_costs_that_write(url: str, decisions: Decisions) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with closing(SqlLedger(url, SCHEMA)) as ledger, psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE event_ids IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool, psycopg.connect(url, autocommit=True) as other:
            waiting = pool.submit(ledger.write, LedgerWrite(decisions.select(0, 10)), if_known="leave")
            deadline = time.monotonic() + 20
            while not other.execute(cut).fetchall() and time.monotonic() < deadline:
                time.sleep(0.02)
            with pytest.raises(Unavailable, match="cannot be written"):
                waiting.result(timeout=30)
        holder.rollback()
        assert ledger.counts()["assessments"] == 0
        assert ledger.write(LedgerWrite(decisions.select(0, 10)), if_known="leave") == Written(added=10)


def test_a_statement_that_takes_too_long_is_given_up(url: str, decisions: Decisions) -> None:
    access = PostgresAccess(statement_timeout_s=0.2, application="ledger-writer")
    with closing(SqlLedger(url, SCHEMA, access)) as ledger, psycopg.connect(url) as other:
        ledger.write(LedgerWrite(decisions.select(0, 10)))
        found = other.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'ledger-writer'").fetchone()
        assert found == (1,)
        other.execute("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="statement timeout"):
            ledger.write(LedgerWrite(decisions.select(10, 20), Progress("s", "s", 20, 20)))
        other.rollback()
        ledger.write(LedgerWrite(decisions.select(10, 20), Progress("s", "s", 20, 20)))


def test_a_wrong_password_is_told_without_it(url: str) -> None:
    bare, _ = postgres_url(url)
    for access, wrong in ((PostgresAccess("not-the-word"), "not-the-word"), (PostgresAccess(), "no-word-at-all")):
        with closing(SqlLedger(str(bare), SCHEMA, access)) as ledger, pytest.raises(ServerDenied) as refused:
            ledger.prepare()
        assert "cannot be prepared" in str(refused.value)
        assert wrong not in str(refused.value) + repr(refused.value.context) + repr(access)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_in_utf8_is_refused(url: str, encoding: str) -> None:
    name = f"{make_url(url).database}_other"
    of = {"name": sql.Identifier(name), "encoding": sql.Literal(encoding)}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0").format(**of)
        )
        try:
            other = make_url(url).set(database=name).render_as_string(hide_password=False)
            with closing(SqlLedger(other, SCHEMA)) as ledger:
                with pytest.raises(BadInput, match=f"{name}' has the encoding {encoding}.*ENCODING 'UTF8'"):
                    ledger.prepare()
                with pytest.raises(BadInput, match=encoding):
                    ledger.last_seq()
        finally:
            connection.execute(sql.SQL("DROP DATABASE {name}").format(**of))


def test_who_may_not_write_is_told_so(url: str, decisions: Decisions) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS ledger_reader")
        connection.execute("CREATE ROLE ledger_reader LOGIN PASSWORD 'reads'")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ledger_reader")
        reader = make_url(url).set(username="ledger_reader", password="reads").render_as_string(hide_password=False)
        try:
            with closing(SqlLedger(reader, SCHEMA)) as ledger:
                ledger.prepare()
                assert ledger.last_seq() == -1
                with pytest.raises(ServerDenied, match="permission denied"):
                    ledger.write(LedgerWrite(None, Progress("s", "s", 1, 1)))
        finally:
            connection.execute("DROP OWNED BY ledger_reader")
            connection.execute("DROP ROLE ledger_reader")


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({"certificate": Path(__file__)}, "certificate without its key"),
        ({"key": Path(__file__)}, "key without its certificate"),
        ({"ca": Path(__file__)}, "would not be used"),
        ({"ca": Path(__file__), "tls": "require"}, "would not be used"),
        ({"tls": "verify-ca"}, "without CA"),
        ({"ca": Path("/no/such.pem"), "tls": "verify-full"}, "is not a file"),
    ],
)
def test_what_is_half_set_is_refused(of: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        PostgresAccess(**of)  # type: ignore[arg-type]


def test_a_password_in_the_url_is_taken_out_of_it() -> None:
    url, password = postgres_url("postgresql://me:pass%20word@here:5433/db?sslmode=require")
    assert (str(url), password) == ("postgresql+psycopg://me@here:5433/db?sslmode=require", "pass word")
    for wrong in ("mysql://me:secret@here/db", "postgresql://me:secret@here:port/db"):
        with pytest.raises(BadInput) as refused:
            postgres_url(wrong)
        assert "secret" not in str(refused.value)


def test_certificates_are_checked_where_asked_for(own_server: OwnPostgres, tmp_path: Path) -> None:
    def certificate(folder: Path, name: str) -> tuple[Path, Path]:
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        key.chmod(0o600)
        return cert, key

    cert, key = certificate(own_server.data, "server")
    other, _ = certificate(tmp_path, "other")
    if os.geteuid() == 0:
        for path in (cert, key):
            shutil.chown(path, "postgres", "postgres")
    with (own_server.data / "postgresql.conf").open("a") as file:
        file.write(f"ssl=on\nssl_cert_file='{cert}'\nssl_key_file='{key}'\n")
    own_server.stop()
    own_server.start()
    with closing(SqlLedger(own_server.url, SCHEMA, PostgresAccess(tls="verify-full", ca=cert))) as ledger:
        ledger.prepare()
        assert ledger.last_seq() == -1
    wrong = PostgresAccess(tls="verify-full", ca=other)
    with closing(SqlLedger(own_server.url, SCHEMA, wrong)) as ledger, pytest.raises(Unavailable, match="certificate"):
        ledger.last_seq()


@pytest.mark.parametrize("own_server", ["small"], indirect=True)
def test_a_full_disk_costs_the_write_and_nothing_else(own_server: OwnPostgres, decisions: Decisions) -> None:
    with closing(SqlLedger(own_server.url, SCHEMA)) as ledger:
        ledger.prepare()
        ledger.write(LedgerWrite(decisions.select(0, 10)))
        ballast = own_server.folder / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(FULL_MB << 20))
        done, told = 10, ""
        while not told and done < 600:
            try:
                ledger.write(LedgerWrite(decisions.select(done, done + 10)), if_known="leave")
                done += 10
            except Unavailable as error:
                told = str(error)
        assert "cannot be written" in told
        ballast.unlink()
        own_server.start_if_stopped()
        assert ledger.counts()["assessments"] == done
        assert ledger.write(LedgerWrite(decisions), if_known="leave") == Written(added=600 - done, left=done)
