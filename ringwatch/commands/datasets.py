"""The command that makes data sets: dataset."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson, MapFile, Paths, mapping_from, settings_with
from ringwatch.commands.stopping import until_told
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from ringwatch.settings import Settings
    from training.card import Card
    from training.dataset import Options

_CHUNK = 2000
"""Records read at a time; parts are cut between."""


def register(app: typer.Typer) -> None:
    app.command()(dataset)


def dataset(
    paths: Paths,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; made if it is not there.")],
    map_file: MapFile = None,
    label_delay: Annotated[str | None, typer.Option(help="Overrides the labels' own delay, for example 7d.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a data set that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Replay history into a data set: one row an event with its features and scores as they were then, and its label.

    Parquet files, and card.json that says what is in them. Interrupt it at any time; the same command continues where it was.

    Example: `ringwatch dataset payments.csv --map my.yaml --out payments-set`
    """
    from ingest.mapping import duration_us
    from training.dataset import Options, finished

    delay_us = None if label_delay is None else duration_us(label_delay, "--label-delay")
    started = perf_counter()
    there = not force and out.is_dir() and finished(out) is not None
    card, _ = make_dataset(settings_with(), paths, map_file, out, Options(delay_us, anew=force), quiet=json)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(card).decode() + "\n")
    else:
        print_card(card, out, None if there else perf_counter() - started)


def make_dataset(
    settings: Settings, paths: list[str], map_file: Path | None, out: Path | None, options: Options, *, quiet: bool
) -> tuple[Card, Path]:
    """With a progress bar; without a folder `out`, into one of the data folder that bears the name of what it is made of. Ends the
    program where somebody interrupts it."""
    from rich.console import Console

    from features.schema import FeatureSchema
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.progress import CountBar
    from ringwatch.wiring import open_source, open_stream
    from training.dataset import job_of, make

    mapping = mapping_from(map_file)
    options = replace(options, settings=_hash(settings))
    kinds = mapping.kinds if mapping is not None else BUILTIN_KINDS
    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file", hint="name a folder")
    source = open_source(settings.model_copy(update={"batch_events": _CHUNK}), paths, mapping, kinds)
    console = Console(stderr=True)
    with CountBar(console, "data set", quiet=quiet) as bar, until_told() as told:
        stream = open_stream(settings, FeatureSchema(kinds))
        out = out or settings.data_dir / "datasets" / job_of(source, stream, options).name
        card = make(source, stream, out, options, progress=bar.update, stop=told.is_set)
    if card is None:
        words = "[yellow]interrupted:[/yellow] run the same command again to continue where it was"
        console.print(words, soft_wrap=True)
        raise typer.Exit(130)
    return card, out


def _hash(settings: Settings) -> str:
    """Of what the rows depend on beside source and mapping, by content where it is a file."""
    digest = hashlib.blake2b(digest_size=8)
    for name in ("currency", "late_full_h", "future_jump_days", "max_entities", "max_record_bytes", "naive_times"):
        digest.update(f"{name}={getattr(settings, name)}\0".encode())
    for name in ("policy", "lists", "detectors", "rules", "fx_rates"):
        path: Path | None = getattr(settings, name)
        digest.update(f"{name}\0".encode() + (b"" if path is None or not path.is_file() else path.read_bytes()) + b"\0")
    return digest.hexdigest()


def print_card(card: Card, folder: Path, seconds: float | None) -> None:
    """`seconds` it took; None where it was there."""
    from rich.console import Console
    from rich.table import Table

    rate = "" if card.label_rate is None else f", {card.frauds:,} of them fraud ({card.label_rate:.2%})"
    size = sum((folder / part).stat().st_size for part in card.parts)
    table = Table(show_header=False, box=None, pad_edge=False)
    took = ", made before" if seconds is None else f" in {seconds:.1f} s ({card.rows / seconds:,.0f}/s)"
    varying = sum(column.varies for column in card.columns.values())
    for row in (
        ("rows", f"{card.rows:,} events{took}"),
        ("labelled", f"{card.labelled:,}{rate}"),
        ("time", f"{card.first_at[:19]} to {card.last_at[:19]}"),
        ("columns", f"{len(card.columns)} inputs, {varying} vary"),
        ("written", f"{folder}: {len(card.parts)} part(s), {size / 1e6:,.0f} MB, {(folder / 'card.json').name}"),
        ("content", card.content),
    ):
        table.add_row(*row)
    if card.refused:
        table.add_row("refused", f"[yellow]{card.refused:,} records: `ringwatch ingest` says why[/yellow]")
    Console(highlight=False).print(table)
