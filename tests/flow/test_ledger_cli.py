"""`ringwatch ledger` on either engine: tables brought up to date, old months dropped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from support.backends import PostgresBackend
from typer.testing import CliRunner

from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite
from ringwatch.commands import ledger as command
from ringwatch.errors import BadInput, Conflict, NotFound
from ringwatch.model import DAY_US, Alert
from ringwatch.settings import Settings

app = typer.Typer()
command.register(app)


@app.callback()
def _top() -> None:
    pass


def only(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """These settings and no others of ringwatch in the environment."""
    for name in [name for name in os.environ if name.startswith("RINGWATCH_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    if request.param == "sqlite":
        only(monkeypatch, RINGWATCH_DATA_DIR=tmp_path)
        (tmp_path / "ringwatch.json").write_text("{}")
        (tmp_path / "ledger.sqlite").touch()
        yield Settings()
        return
    server: PostgresBackend = request.getfixturevalue("postgres_server")
    with server.fresh() as found:
        only(monkeypatch, RINGWATCH_DATA_DIR=tmp_path, **found)
        yield Settings()


def run(*args: str) -> str:
    done = CliRunner().invoke(app, ["ledger", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_old_months_go_and_new_ones_stay(settings: Settings) -> None:
    assert "up to date" in run("upgrade")
    now_us = int(time.time() * 1e6)
    with command._ledger(settings) as ledger:
        assert isinstance(ledger, SqlLedger)
        times = [now_us - days * DAY_US for days in (1, 100, 500, 900)]
        ledger.write(
            LedgerWrite(
                None,
                alerts=[
                    Alert(f"a{i}", "t", "user", "u", "r", at_us, at_us, 1, 0.5, "HIGH", "now", "why")
                    for i, at_us in enumerate(times)
                ],
            )
        )
    assert run("retain", "--keep", "400d", "--dry-run").startswith("would drop what is before 20")
    assert '"alerts":2' in run("retain", "--keep", "400d", "--json")
    assert "0 events, 0 alerts" in run("retain", "--keep", "400d")
    with command._ledger(settings) as ledger:
        assert [a.alert_id for a in ledger.alerts()] == ["a0", "a1"]


@pytest.mark.parametrize("keep", ["400", "0d", "-3d", "d", "1.5d", "40000d"])
def test_what_is_not_days_is_refused(keep: str) -> None:
    with pytest.raises(BadInput, match="--keep is"):
        run("retain", f"--keep={keep}")


def test_a_folder_without_a_ledger_or_in_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest.folder import DataFolder

    only(monkeypatch, RINGWATCH_DATA_DIR=tmp_path)
    with pytest.raises(NotFound, match="has no ledger"):
        run("upgrade")
    folder = DataFolder(tmp_path)
    folder.ledger.touch()
    with pytest.raises(Conflict, match="in use"):
        run("retain", "--keep", "9d")
    folder.close()
