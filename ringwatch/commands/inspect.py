"""Commands that show and keep house: alerts, settings, doctor, reset."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from ringwatch.settings import Settings

_COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow", "LOW": "dim"}
_REASONS_SHOWN = 3


def register(app: typer.Typer) -> None:
    app.command()(alerts)
    app.command("settings")(show_settings)
    app.command()(doctor)
    app.command()(reset)


def alerts(
    level: Annotated[str | None, typer.Option(help="Only MEDIUM, HIGH or CRITICAL.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    top: Annotated[bool, typer.Option("--top", help="The severest first, not the newest.")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="The digest: what is not urgent, by reason.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """List alerts, newest first: what happened, to whom, the reasons with what each adds to the score.

    CRITICAL and HIGH alerts are listed one by one (others with `--level medium`); `--digest` sums those that can wait up by reason.
    """
    if level is not None and level.upper() not in _COLOURS:
        raise BadInput(f"--level is {level!r}", hint="MEDIUM, HIGH or CRITICAL")
    settings = settings_with(data_dir)
    wanted = level.upper() if level else None
    found = read_ledger_alerts(settings, limit=limit if wanted else 100_000, level=wanted, top=top)
    if digest or wanted is None:
        found = [pair for pair in found if pair[0].delivery == ("digest" if digest else "now")]
    if json:
        _write_alerts(found[:limit])
    elif digest:
        _print_digest([alert for alert, _ in found], limit)
    else:
        print_alerts(found[:limit], f"Alerts in {_place(settings)}, {'severest' if top else 'newest'} first")


def _place(settings: Settings) -> str:
    return str(settings.data_dir) if settings.ledger_url == "sqlite:" else settings.ledger_url


def read_ledger_alerts(settings: Settings, *, limit: int, level: str | None, top: bool) -> list[tuple[Any, Any]]:
    from ledger.read import read_alerts
    from ringwatch.wiring import ledger_place

    url, access = ledger_place(settings)
    return list(read_alerts(url, limit=limit, level=level, severest=top, access=access))


def _write_alerts(found: list[tuple[Any, Any]]) -> None:
    import msgspec

    for alert, reasons in found:
        row = msgspec.to_builtins(alert) | {"reasons": msgspec.to_builtins(reasons)}
        sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")


def print_alerts(found: list[tuple[Any, Any]], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(title)}[/bold]" if found else "no alerts")
    for a, reasons in found:
        at = datetime.fromtimestamp(a.last_at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
        events = f"{a.events:,} events" if a.events > 1 else "1 event"
        money = f", {a.amount_minor / 100:,.2f}" if a.amount_minor else ""
        head = f"[{_COLOURS[a.level]}]{a.level:<8}[/] {a.score:.2f}  {a.kind.replace('_', ' ')} [bold]{escape(a.entity)}[/bold]"
        console.print(f"{head}  {events}{money}, last {at}")
        for reason in reasons[:_REASONS_SHOWN]:
            console.print(f"         [dim]{reason.contribution:+.2f}[/dim]  {escape(reason.text)}")


def _print_digest(found: list[Any], limit: int) -> None:
    from collections import Counter

    from rich.console import Console
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
    Console().print(table)


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
    """Delete a data folder's content: ledger, graph, state, dead letters, models, audit trail. Asks first, and only deletes a folder of ours."""
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
