"""Commands that show and keep house: alerts, settings, doctor, reset."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput, NotFound

if TYPE_CHECKING:
    from ringwatch.settings import Settings

_COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "dim"}


def register(app: typer.Typer) -> None:
    app.command()(alerts)
    app.command("settings")(show_settings)
    app.command()(doctor)
    app.command()(reset)


def alerts(
    level: Annotated[str | None, typer.Option(help="Only MEDIUM, HIGH or CRITICAL.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    digest: Annotated[bool, typer.Option("--digest", help="The digest: what is not urgent, by reason.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """List alerts, newest first: what happened, to whom, why, and how much money it touches.

    CRITICAL and HIGH alerts are listed one by one; `--digest` sums the rest up by reason.
    """
    if level is not None and level.upper() not in _COLOURS:
        raise BadInput(f"--level is {level!r}", hint="MEDIUM, HIGH or CRITICAL")
    print_alerts(
        settings_with(data_dir), limit=limit, level=level.upper() if level else None, as_json=json, digest=digest
    )


def print_alerts(settings: Settings, *, limit: int, level: str | None, as_json: bool, digest: bool) -> None:
    import msgspec
    from rich.console import Console

    found = _read_alerts(settings, limit=100_000 if digest else limit, level=level)
    if digest:
        found = [a for a in found if a.delivery == "digest"]
    if as_json:
        for alert in found:
            sys.stdout.buffer.write(msgspec.json.encode(alert) + b"\n")
        return
    console = Console()
    if digest:
        _print_digest(console, found, limit)
        return
    console.print(f"[bold]Alerts in {settings.data_dir}[/bold], newest first" if found else "no alerts", soft_wrap=True)
    for a in found:
        at = datetime.fromtimestamp(a.last_at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
        events = f"{a.events:,} events" if a.events > 1 else "1 event"
        head = f"[{_COLOURS[a.level]}]{a.level:<8}[/] {a.score:.2f}  {a.kind} [bold]{a.entity}[/bold]"
        console.print(f"{head}  {events}, {a.amount_minor / 100:,.2f}, last {at}", highlight=False, soft_wrap=True)
        console.print(f"               [dim]{a.text}[/dim]", highlight=False, soft_wrap=True)


def _print_digest(console: Any, found: list[Any], limit: int) -> None:
    from collections import Counter

    from rich.table import Table

    counts = Counter(a.reason for a in found)
    events = Counter[str]()
    amounts = Counter[str]()
    for a in found:
        events[a.reason] += a.events
        amounts[a.reason] += a.amount_minor
    table = Table(title=f"Digest: {len(found):,} alerts that can wait", title_justify="left")
    for name in ("reason", "alerts", "events", "amount"):
        table.add_column(name, justify="left" if name == "reason" else "right")
    for reason, n in counts.most_common(limit):
        table.add_row(reason, f"{n:,}", f"{events[reason]:,}", f"{amounts[reason] / 100:,.2f}")
    console.print(table)


def _read_alerts(settings: Settings, *, limit: int, level: str | None) -> list[Any]:
    from ledger.sql_store import read_alerts

    path = settings.data_dir / "ledger.sqlite"
    if not path.exists():
        raise NotFound(f"{settings.data_dir} has no ledger", hint="`ringwatch ingest` makes one, `ringwatch demo` too")
    return read_alerts(f"sqlite:///{path}", limit=limit, level=level)


def show_settings(json: AsJson = False) -> None:
    """Print every effective setting, secrets masked, and where it came from."""
    from rich.console import Console
    from rich.table import Table

    settings = settings_with()
    rows = []
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        source = "environment" if name in settings.model_fields_set else "default"
        rows.append((f"RINGWATCH_{name.upper()}", "" if value is None else str(value), source, info.description or ""))
    if json:
        import msgspec

        content = [dict(zip(("name", "value", "source", "description"), row, strict=True)) for row in rows]
        sys.stdout.write(msgspec.json.encode(content).decode() + "\n")
        return
    table = Table(title="Settings", title_justify="left")
    for column in ("setting", "value", "from", "what it is"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def doctor(data_dir: DataDir = None) -> None:
    """Check that everything is there and works; say what to do where not."""
    from rich.console import Console

    from ringwatch.commands.checks import checks

    console = Console()
    bad = 0
    for name, trouble, good in checks(settings_with(data_dir)):
        bad += trouble is not None
        console.print(
            f"[red]✗[/red] {name}: {trouble}" if trouble else f"[green]✓[/green] {name}: {good}", soft_wrap=True
        )
    if bad:
        raise typer.Exit(1)


def reset(
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a data folder's content: ledger, graph, state, dead letters. Asks first, and only deletes a folder of ours."""
    from ingest.folder import MARKER, DataFolder

    path: Path = settings_with(data_dir).data_dir
    if not (path / MARKER).exists():
        raise BadInput(f"{path} is not a Ringwatch data folder", hint="nothing was deleted")
    if not yes and not typer.confirm(f"Delete everything in {path}?"):
        raise typer.Exit(1)
    folder = DataFolder(path)
    for item in path.iterdir():
        if item.is_dir():
            shutil.rmtree(item)
        elif item.name != "owner.lock":
            item.unlink()
    folder.close()
    typer.echo(f"{path} is empty")
