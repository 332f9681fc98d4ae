"""Credentials: from files, whole or not at all, never in a URL or a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwatch.access import open_bus, postgres_access
from ringwatch.errors import BadInput
from ringwatch.secret_files import certificate_of, password_of, without_secret
from ringwatch.settings import Settings


def test_a_password_is_the_files_first_content(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret pass\n")
    settings = Settings(neo4j_username="neo4j", neo4j_password_file=tmp_path / "p")
    assert password_of(settings, "neo4j") == "s3cret pass"
    assert password_of(Settings(), "neo4j") is None


@pytest.mark.parametrize("given", [{"neo4j_username": "neo4j"}, {"neo4j_password_file": Path("/nowhere")}])
def test_half_a_pair_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"RINGWATCH_NEO4J_\w+ is set and RINGWATCH_NEO4J_\w+ is not"):
        password_of(Settings(**given), "neo4j")  # type: ignore[arg-type]


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(BadInput, match="RINGWATCH_REDIS_PASSWORD_FILE cannot be read"):
        password_of(Settings(redis_password_file=tmp_path / "none"), "redis", username=False)
    with pytest.raises(BadInput, match="RINGWATCH_REDIS_PASSWORD_FILE is empty"):
        password_of(Settings(redis_password_file=tmp_path / "empty"), "redis", username=False)
    with pytest.raises(BadInput, match="RINGWATCH_REDIS_CERT_FILE is set and RINGWATCH_REDIS_KEY_FILE is not"):
        certificate_of(Settings(redis_cert_file=tmp_path / "empty"), "redis")
    with pytest.raises(BadInput, match="RINGWATCH_POSTGRES_CA_FILE names no file"):
        postgres_access(Settings(postgres_ca_file=tmp_path / "none"))


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(BadInput, match="RINGWATCH_LEDGER_URL holds a password") as refused:
        without_secret("ledger_url", "postgresql://me:hunter2@host/db")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(BadInput, match="RINGWATCH_STATE_URL holds a password"):
        without_secret("state_url", "redis://h:1/0?Password=hunter2")
    assert without_secret("ledger_url", "postgresql://me@host/db") == "postgresql://me@host/db"


def test_kafka_is_refused_half_set(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    with pytest.raises(BadInput):
        open_bus(Settings(bus_url="kafka://h:1", kafka_security="sasl_ssl"))
    with pytest.raises(BadInput):
        open_bus(Settings(bus_url="kafka://h:1", kafka_username="u", kafka_password_file=tmp_path / "p"))
    assert open_bus(Settings(bus_url="kafka://h:1,g")).brokers == ("h:1", "g:9092")
