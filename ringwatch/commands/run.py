"""Commands that take events in: ingest, score, simulate."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, DataDir, MapFile, Paths, mapping_from, settings_with
from ringwatch.commands.stopping import until_told
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from ingest.tally import Tally
    from ringwatch.settings import Settings

_FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def register(app: typer.Typer) -> None:
    app.command()(ingest)
    app.command()(score)
    app.command()(simulate)


def ingest(paths: Paths, map_file: MapFile = None, data_dir: DataDir = None, json: AsJson = False) -> None:
    """Take event files in: link, score, alert, and keep everything.

    Interrupt it (Ctrl-C) at any time; the same command continues where it was.

    Example: `ringwatch ingest payments.parquet --map mappings/handbook.yaml`
    """
    tally = run_ingest(settings_with(data_dir), paths, map_file, quiet=json)
    if json:
        _print_json(tally_dict(tally))
    if tally.interrupted:
        raise typer.Exit(130)


def run_ingest(settings: Settings, paths: list[str], map_file: Path | None, *, quiet: bool) -> Tally:
    """Ingest with a progress bar, stopping cleanly on SIGINT and SIGTERM."""
    from rich.console import Console
    from rich.markup import escape

    from ringwatch.progress import IngestBar
    from ringwatch.wiring import open_service

    console = Console(stderr=True)
    mapping = mapping_from(map_file)
    service = open_service(settings, mapping)
    try:
        source = service.source(paths, mapping)
        for trouble in service.pipeline.tally.troubles:
            console.print(f"[yellow]note:[/yellow] {escape(trouble)}", soft_wrap=True)
        with IngestBar(console, source.name, quiet=quiet) as bar, until_told() as stopping:
            tally = service.pipeline.run(source, progress=bar.show, stop=stopping.is_set)
        if not quiet and not tally.already_finished:
            print_summary(console, tally, service.pipeline.stream.state.stats(), service.graph)
    finally:
        service.close()
    if tally.already_finished:
        console.print(
            f"{source.name} was ingested before: nothing to do. To start anew: "
            f"[bold]ringwatch reset --data-dir {settings.data_dir}[/bold]",
            soft_wrap=True,
        )  # fmt: skip
    if not (tally.already_finished or tally.events or tally.duplicates or tally.refusals or tally.interrupted):
        console.print(f"[yellow]note:[/yellow] {escape(source.name)} holds no records", soft_wrap=True)
    if tally.interrupted:
        console.print(
            "[yellow]interrupted:[/yellow] run the same command again to continue where it was", soft_wrap=True
        )
    return tally


def print_summary(console: Any, tally: Tally, stats: dict[str, int], graph: Any) -> None:
    from rich.table import Table

    links = graph.counts()["links"] if graph is not None else 0
    table = Table(show_header=False, box=None, pad_edge=False)
    rate = tally.events / tally.seconds if tally.seconds else 0.0
    rows = [
        ("events", f"{tally.events:,} in {tally.seconds:.1f} s ({rate:,.0f}/s)"),
        ("labels", f"{tally.labels:,}"),
        ("entities", f"{stats['entities']:,} known, {links:,} links"),
        ("levels", ", ".join(f"{n:,} {level}" for level, n in tally.levels.items() if n)),
        ("new alerts", ", ".join(f"{n:,} {level}" for level, n in sorted(tally.alerts.items()) if n) or "none"),
    ]
    if tally.duplicates:
        rows.append(("redelivered", f"{tally.duplicates:,} events seen before, left as they were"))
    if tally.refusals:
        rows.append(
            ("refused", f"[yellow]{tally.refusals:,} records, see dead-letters.jsonl in the data folder[/yellow]")
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)


def tally_dict(tally: Tally) -> dict[str, Any]:
    from dataclasses import asdict

    content = asdict(tally)
    content["events_per_s"] = round(tally.events / tally.seconds) if tally.seconds else 0
    return content


def _print_json(content: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=1).decode() + "\n")


def score(
    map_file: MapFile = None,
    data_dir: DataDir = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Score each event as if it happened now, alone, and change nothing.")
    ] = False,
) -> None:
    """Read events on standard input, write one assessment a line to standard output.

    Refused lines go to standard error (and to the dead letters), the rest goes on. An event id seen before gives the
    assessment it got then.

    Example: `ringwatch score --read-only < events.jsonl | jq .score`
    """
    from ringwatch.commands.scoring import score_stream
    from ringwatch.wiring import open_service

    mapping = mapping_from(map_file)
    service = open_service(settings_with(data_dir), mapping)
    try:
        score_stream(service, mapping, read_only=read_only)
    finally:
        service.close()


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder to write events.jsonl and the truth files to.")],
    events: Annotated[
        int, typer.Option(min=1000, help="About how many events; the smallest market has some 7,000.")
    ] = 60_000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 7,
    days: Annotated[int, typer.Option(min=2, max=3650, help="Days of marketplace life.")] = 30,
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC).")] = _FIRST_DAY,
    force: Annotated[bool, typer.Option("--force", help="Write over a market that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Simulate a marketplace with fraud rings of ten patterns, and innocents who look like them.

    Example: `ringwatch simulate --out market --events 200000 --seed 1`
    """
    if (out / "events.jsonl").exists() and not force:
        raise BadInput(f"{out} holds a market already", hint="name another folder, or write over it with --force")
    summary = run_simulation(out, events, seed, days, start, quiet=json)
    if json:
        _print_json(summary)


def run_simulation(out: Path, events: int, seed: int, days: int, start: datetime, *, quiet: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from rich.console import Console

    from ingest.simulate.simulate import SimulationConfig, write_simulation
    from ringwatch.progress import CountBar

    console = Console(stderr=True)
    with CountBar(console, "simulating", quiet=quiet) as bar:
        config = SimulationConfig(
            events=events, seed=seed, days=days, start=datetime(start.year, start.month, start.day, tzinfo=UTC)
        )
        summary = asdict(write_simulation(config, out, bar.show))
    if not quiet:
        console.print(
            f"simulated {summary['events']:,} events of {summary['users']:,} users over {days} days: "
            f"{summary['fraud_events']:,} fraudulent in {summary['campaigns']} campaigns, "
            f"{summary['innocent_groups']} innocent groups that look alike",
            soft_wrap=True,
        )
    return summary
