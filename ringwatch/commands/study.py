"""Commands that look at data: map, backtest, bench."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, MapFile, Paths, mapping_from, settings_with
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from evaluate.backtest import Report
    from evaluate.protocol import Protocol


def register(app: typer.Typer) -> None:
    app.command("map")(propose_map)
    app.command()(backtest)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def propose_map(file: Annotated[str, typer.Argument(help="A CSV, JSON Lines or Parquet file.")]) -> None:
    """Propose a mapping for a file: which columns are the time, the user, the amount, the label.

    Example: `ringwatch map payments.csv > my.yaml`, then look it through and `ringwatch ingest payments.csv --map my.yaml`.
    """
    from ingest.mapping_proposal import propose

    sys.stdout.write(propose(Path(file)))


def backtest(
    paths: Paths,
    map_file: MapFile = None,
    protocol_file: Annotated[
        Path | None, typer.Option("--protocol", help="Protocol YAML: split, labels, metrics.")
    ] = None,
    train_from: Annotated[
        str | None, typer.Option(help="Start of training, for example 2018-07-25; all four dates are needed.")
    ] = None,
    train_until: Annotated[str | None, typer.Option(help="End of training, not included.")] = None,
    test_from: Annotated[str | None, typer.Option(help="Start of the test.")] = None,
    test_until: Annotated[str | None, typer.Option(help="End of the test, not included.")] = None,
    split: Annotated[
        str | None, typer.Option(help="A CSV of event_id,part (train or test), or the word random.")
    ] = None,
    test_size: Annotated[float, typer.Option(help="Share tested, with --split random.")] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --split random.")] = 2,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Train a model on the training part, or test the robust rule.")
    ] = True,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Models to train, seeds 0, 1, ..; mean and spread.")] = 1,
    ablation: Annotated[bool, typer.Option("--ablation", help="Train with less than everything, too.")] = False,
    gnn: Annotated[
        bool, typer.Option("--gnn/--no-gnn", help="Train a graph network, too, where torch is installed.")
    ] = True,
    label_delay: Annotated[str | None, typer.Option(help="Overrides the mapping's delay, for example 7d.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every event's score here (.parquet or .csv).")] = None,
    json: AsJson = False,
) -> None:
    """Replay history in order of time, labels with their delay, and measure what the scores are worth.

    Example: `ringwatch backtest S-FFSD.csv.gz --map mappings/sffsd.yaml --protocol mappings/sffsd-time.protocol.yaml`
    """
    import msgspec
    from rich.console import Console

    from evaluate.backtest import Learning
    from evaluate.backtest import backtest as run_backtest
    from evaluate.protocol import Protocol, fold_of, load_protocol
    from features.schema import FeatureSchema
    from ingest.mapping import duration_us
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.progress import CountBar
    from ringwatch.wiring import open_source, open_stream

    spans = {"train_from": train_from, "train_until": train_until, "test_from": test_from, "test_until": test_until}
    given = {name: value for name, value in spans.items() if value is not None}
    if sum((protocol_file is not None, bool(given), split is not None)) > 1:
        raise BadInput("more than one of --protocol, --train-from.., --split is given", hint="choose one")
    protocol = load_protocol(protocol_file) if protocol_file is not None else Protocol()
    if not 0.0 < test_size < 1.0:
        raise BadInput(f"--test-size is {test_size}", hint="a share between 0 and 1 is needed")
    if split not in (None, "random") and not Path(split).is_file():
        raise BadInput(f"there is no split file {split}", hint="a CSV of event_id,part, or the word random")
    if out is not None and not out.absolute().parent.is_dir():
        raise BadInput(f"the folder of --out {out} does not exist", hint="make it first")
    if given:
        protocol = replace(protocol, folds=(fold_of(given, "the span of dates"),))
    elif split == "random":
        protocol = replace(protocol, random_test_size=test_size, seed=seed, labels="train")
    elif split is not None:
        protocol = replace(protocol, file=Path(split), labels="train")
    settings, mapping = settings_with(), mapping_from(map_file)
    kinds = mapping.kinds if mapping is not None else BUILTIN_KINDS
    schema = FeatureSchema(kinds)
    source = open_source(settings, paths, mapping, kinds)
    started = perf_counter()
    with CountBar(Console(stderr=True), "backtest", quiet=json) as bar:
        report = run_backtest(
            source,
            lambda: open_stream(settings, schema),
            protocol,
            learning=Learning(range(seeds), ablation, gnn) if train else None,
            label_delay_us=None if label_delay is None else duration_us(label_delay, "--label-delay"),
            out=out,
            progress=bar.update,
        )
    report.seconds = perf_counter() - started
    if json:
        sys.stdout.write(msgspec.json.encode(asdict(report)).decode() + "\n")
    else:
        _print_report(report, protocol)


def _print_report(report: Report, protocol: Protocol) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"{report.events:,} events, {report.labelled:,} labelled, {report.frauds:,} fraud; "
        f"{report.refused:,} refused; {report.seconds:.0f} s",
        highlight=False,
    )
    title = "Test figures" + (f", mean of {len(report.folds)} folds" if len(report.folds) > 1 else "")
    table = Table(title=title, title_justify="left")
    names = [n for n in report.figures if n not in ("rows", "frauds")]
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    rows: list[tuple[str, dict[str, Any]]] = [("[bold]trained model[/bold]", report.figures)] if report.trained else []
    rows += [("  spread over seeds", report.spread)] if report.spread else []
    rows += [(f"  {name}", figures) for name, figures in report.ablation.items()]
    rows += [("[bold]robust rule[/bold]", report.rule), *report.scorers.items()]
    for name, figures in rows:
        table.add_row(name, *(f"{figures[n]:.3f}" if n in figures else "" for n in names))
    console.print(table)
    for note in [*report.notes, *(f"graph network, {words}" for words in report.network)]:
        console.print(note, highlight=False)
    levels = Table(title="Test events by level", title_justify="left")
    for column in ("level", "fraud", "good", "unlabelled"):
        levels.add_column(column, justify="left" if column == "level" else "right")
    for level, counts in report.levels.items():
        levels.add_row(level, *(f"{counts[c]:,}" for c in ("fraud", "good", "unlabelled")))
    console.print(levels)


def bench(context: typer.Context) -> None:
    """Measure throughput, latency and bytes of the embedded pipeline (in a source checkout)."""
    import subprocess

    script = Path(__file__).resolve().parents[2] / "bench" / "embedded.py"
    if not script.exists():
        raise BadInput("the benchmarks are not installed", hint="they are in bench/ of the source repository")
    raise typer.Exit(subprocess.run([sys.executable, str(script), *context.args], check=False).returncode)
