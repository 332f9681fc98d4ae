"""`ringwatch demo`: a simulated marketplace from the first event to a fraud ring on the screen, and a served API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import settings_with
from ringwatch.commands.run import run_ingest, run_simulation

if TYPE_CHECKING:
    from ringwatch.settings import Settings

_ALERTS_SHOWN = 4
_DAYS = 30
"""The last one is yesterday, so that what is scored now finds the rings alive."""
_FRESH_DAYS = 3.0
_ALERTS_READ = 100_000


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    data_dir: Annotated[Path, typer.Option(help="Data folder.")] = Path("ringwatch-demo"),
    events: Annotated[int, typer.Option(min=1000, help="About how many events.")] = 60_000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same events.")] = 7,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve what was made, until Ctrl-C: API, GraphQL, the ring's page.")
    ] = False,
) -> None:
    """Show everything on a simulated marketplace: simulate, ingest, what was found, a fraud ring with its reasons.

    It ends by itself; with `--serve` it goes on as a server.
    """
    from rich.console import Console

    from ringwatch.commands.inspect import print_alerts, read_ledger_alerts
    from ringwatch.commands.serve import bind, serve_folder

    settings = settings_with(data_dir)
    market = settings.data_dir / "market" / f"events-{events}-{seed}"
    console = Console(stderr=True)
    listener = bind(settings.host, settings.port) if serve else None
    console.rule("[bold]Ringwatch demo")
    _claim(settings)
    if not (market / "events.jsonl").exists():
        run_simulation(market, events, seed, _DAYS, datetime.now(UTC) - timedelta(days=_DAYS), quiet=False)
    elif (days := _age_days(market)) > _FRESH_DAYS:
        console.print(
            f"[yellow]This market ended {days:.0f} days ago, and rings fade: for a fresh one "
            f"`ringwatch reset --data-dir {settings.data_dir}`, then this again.[/yellow]", soft_wrap=True,
        )  # fmt: skip
    run_ingest(settings, [str(market / "events.jsonl")], None, quiet=False)
    _print_found(settings, market)
    print_alerts(read_ledger_alerts(settings, limit=_ALERTS_SHOWN, level=None, top=True), "\nThe severest alerts")
    page = _show_ring(settings)
    if serve:
        console.rule("[bold]Served")
        serve_folder(settings, local_key=True, listener=listener)
        return
    at = f"--data-dir {settings.data_dir}"
    console.print(f"\nThe ring as a page, in any browser: [bold]{page}[/bold]" if page else "", soft_wrap=True)
    console.print(
        f"Next: [bold]ringwatch serve {at}[/bold], [bold]ringwatch rings {at}[/bold], [bold]ringwatch alerts {at}[/bold], "
        "or your own data: [bold]ringwatch map FILE > my.yaml[/bold], [bold]ringwatch ingest FILE --map my.yaml[/bold]",
        soft_wrap=True,
    )


def _print_found(settings: Settings, market: Path) -> None:
    """What was planted beside what was found, pattern by pattern."""
    from rich.console import Console
    from rich.table import Table

    from evaluate.found import found
    from ledger.read import read_alerts
    from rings.read import open_rings

    alerts = [
        a for a, _ in read_alerts(f"sqlite:///{settings.data_dir / 'ledger.sqlite'}", limit=_ALERTS_READ, level=None)
    ]
    users = int(open_rings(settings.data_dir).stats()["users"])
    result = found(market, alerts, users)
    table = Table("planted pattern", "campaigns", "named", "their accounts", "alerted", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, p in result.patterns.items():
        table.add_row(name.replace("_", " "), f"{p.campaigns}", f"{p.found}", f"{p.accounts:,}", f"{p.alerted:,}")
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print(
        f"{result.accounts:,} accounts are in urgent alerts, {result.guilty:,} of them in a campaign. Of {result.innocents:,} "
        f"innocent users {result.accused_share:.2%} were accused.", soft_wrap=True,
    )  # fmt: skip


def _show_ring(settings: Settings) -> Path | None:
    """The most telling ring in the terminal and as a page; the page's path."""
    from rings.read import find_ring, open_rings
    from rings.ring import most_telling
    from ringwatch.commands.rings import draw_ring, write_page

    keeper = open_rings(settings.data_dir)
    found = most_telling(keeper.rings(least_users=3))
    if found is None:
        return None
    ring = find_ring(keeper, found.ring_id, None)
    page = settings.data_dir / "ring.html"
    draw_ring(ring, settings)
    write_page(ring, page, settings)
    return page


def _age_days(market: Path) -> float:
    """Days since the last event of a market."""
    with (market / "events.jsonl").open("rb") as file:
        file.seek(-min(65_536, file.seek(0, 2)), 2)
        tail = [json.loads(line) for line in file.readlines()[1:]]
    last = max((datetime.fromisoformat(row["at"]) for row in tail if "at" in row), default=datetime.now(UTC))
    return (datetime.now(UTC) - last) / timedelta(days=1)


def _claim(settings: Settings) -> None:
    """Make the data folder ours before the simulation writes into it; refuse one that is in use or somebody else's."""
    from ingest.folder import DataFolder

    DataFolder(settings.data_dir).close()
