"""`ringwatch ledger`: bring its tables up to date, and drop what is older than is kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput, NotFound

if TYPE_CHECKING:
    from ledger.sql_store import SqlLedger
    from ringwatch.settings import Settings

_MOST_DAYS = 36_500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ledger_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The ledger of what was decided: bring its tables up to date, drop what is old.",
)


def register(app: typer.Typer) -> None:
    ledger_app.command()(upgrade)
    ledger_app.command()(retain)
    app.add_typer(ledger_app, name="ledger")


def upgrade(data_dir: DataDir = None) -> None:
    """Bring the ledger's tables to this version. The ledger writer (embedded: every process) does so
    when it starts; this is for those that may not change tables."""
    settings = settings_with(data_dir)
    with _ledger(settings) as ledger:
        ledger.prepare()
    typer.echo(f"the ledger ({_place(settings)}) is up to date")


def retain(
    keep: Annotated[str, typer.Option("--keep", help="How long events are kept, in days, for example 400d.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be dropped.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Drop whole months (UTC) that ended before the last --keep days: their assessments, alerts that ended in them, labels of their events,
    the history of rings that ended in them.

    On PostgreSQL beside running processes; with SQLite the data folder must be free.

    Example: `ringwatch ledger retain --keep 400d --dry-run`
    """
    keep_from_us = int(time.time() * 1e6) - _days(keep) * 86_400_000_000
    with _ledger(settings_with(data_dir)) as ledger:
        ledger.prepare()
        found = ledger.retain(keep_from_us, dry_run=dry_run)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode({**found, "dry_run": dry_run}).decode() + "\n")
        return
    before = _EPOCH + timedelta(microseconds=found["before_us"])
    what = ", ".join(f"{found[name]:,} {name}" for name in ("events", "alerts", "labels", "rings", "partitions"))
    typer.echo(f"{'would drop' if dry_run else 'dropped'} what is before {before:%Y-%m-%d}: {what}")


def _days(keep: str) -> int:
    number = keep.strip().removesuffix("d")
    if not number.isdecimal() or not keep.strip().endswith("d") or not 1 <= int(number) <= _MOST_DAYS:
        raise BadInput(f"--keep is {keep!r}", hint=f"days are needed, 1d to {_MOST_DAYS}d, for example 400d")
    return int(number)


@contextmanager
def _ledger(settings: Settings) -> Iterator[SqlLedger]:
    """The ledger that the settings name; SQLite's with its folder held."""
    from features.schema import FeatureSchema
    from ingest.folder import DataFolder
    from ringwatch.shared_wiring import ledger_of

    with ExitStack() as opened:
        folder = None
        if settings.ledger_url == "sqlite:":
            if not (settings.data_dir / "ledger.sqlite").exists():
                raise NotFound(
                    f"{settings.data_dir} has no ledger", hint="`ringwatch ingest` makes one, `ringwatch demo` too"
                )
            folder = DataFolder(settings.data_dir)
            opened.callback(folder.close)
        ledger = ledger_of(settings, folder, FeatureSchema())
        opened.callback(ledger.close)
        yield ledger


def _place(settings: Settings) -> str:
    return str(settings.data_dir / "ledger.sqlite") if settings.ledger_url == "sqlite:" else settings.ledger_url
