"""The command that makes learned models: train."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, DataDir, MapFile, Paths, settings_with
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US
from training.reading import Unlabelled

if TYPE_CHECKING:
    from evaluate.holdout import Holdout
    from ringwatch.settings import Settings
    from training.card import Card
    from training.graph import Graph
    from training.reading import Labelled
    from training.registry import Version

_HELD_OUT = 0.45
"""Share of the work that the held-out test is, beside the model that is kept."""


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    paths: Paths,
    map_file: MapFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Same data, same seed, same model.")] = 0,
    name: Annotated[str, typer.Option("--name", help="What to call it, for people.")] = "",
    holdout: Annotated[float, typer.Option(help="Share of the labels, the last in time, that figures are of.")] = 0.2,
    unlabelled: Annotated[
        Unlabelled,
        typer.Option(help="What old events without a label are: good, left out, or (auto) good where few have one."),
    ] = Unlabelled.AUTO,
    gnn: Annotated[
        bool, typer.Option("--gnn/--no-gnn", help="Train a graph network, too, where torch is installed.")
    ] = True,
    promote: Annotated[
        bool,
        typer.Option(
            "--promote", help="Let it serve as champion, unless the robust rule is better on the held-out part."
        ),
    ] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Train a model on labelled history, test it on the last part of the time, and register it.

    Takes files, as `ringwatch ingest`, or the folder of a `ringwatch dataset`. Figures are of a model that knew only what was known when the
    held-out part begins; the one that is registered is then trained on all labels.

    Example: `ringwatch train payments.csv --map my.yaml --promote`
    """
    import msgspec

    settings = settings_with(data_dir)
    started = perf_counter()
    folder = _data_set(settings, paths, map_file, quiet=json)
    given = Given(seed, name, holdout, unlabelled, gnn)
    version, held, labelled, notes = run_training(settings, folder, given, quiet=json)
    doubts: list[str] = []
    if promote and (worse := _worse_than_rule(held)):
        doubts = [
            f"not promoted: {worse}. More labels help; `ringwatch models promote {version.number}` promotes it all the same"
        ]
    elif promote:
        from ringwatch.commands.models import changing
        from ringwatch.wiring import open_shelf
        from training.promotion import promote as serve
        from training.registry import open_registry

        registry, shelf = open_registry(settings), open_shelf(settings)
        with changing(settings, shelf, "models.promote"):
            version, doubts = serve(registry, shelf, version.number)
    if json:
        content = {
            "version": version, "holdout": held.summary(), "labelled": len(labelled.table) - labelled.assumed, "assumed_good": labelled.assumed,
            "seconds": perf_counter() - started, "notes": notes, "warnings": doubts,
        }  # fmt: skip
        sys.stdout.write(msgspec.json.encode(content).decode() + "\n")
    else:
        _print(version, held, labelled, folder, perf_counter() - started, notes, doubts)


def _worse_than_rule(held: Holdout) -> str:
    """In words, where the model does not rank the held-out rows better than the robust rule; else empty."""
    model, rule = held.metrics["average_precision"], held.rule["average_precision"]
    if model > rule:
        return ""
    return f"the robust rule has an average precision of {rule:.4f} on the held-out rows, the model {model:.4f}"


def _data_set(settings: Settings, paths: list[str], map_file: Path | None, *, quiet: bool) -> Path:
    """The folder given, else one made of the files given; kept, so that another training starts from it."""
    from ringwatch.commands.datasets import make_dataset
    from training.card import CARD
    from training.dataset import UNFINISHED, Options

    first = Path(paths[0])
    if (first / CARD).exists() or (first / UNFINISHED).exists():
        if len(paths) > 1 or map_file is not None:
            raise BadInput(
                f"{first} is a data set", hint="give it alone, without --map: it was mapped when it was made"
            )
        return first
    return make_dataset(settings, paths, map_file, None, Options(), quiet=quiet)[1]


@dataclass(frozen=True, slots=True)
class Given:
    """How to train."""

    seed: int = 0
    name: str = ""
    share: float = 0.2
    """Held out."""
    unlabelled: Unlabelled = Unlabelled.AUTO
    gnn: bool = True
    """With a graph network, where torch is installed."""


def run_training(
    settings: Settings, folder: Path, given: Given, *, quiet: bool
) -> tuple[Version, Holdout, Labelled, list[str]]:
    """From a data set to a registered version; with what somebody should know of it."""
    from rich.console import Console

    from evaluate.holdout import hold_out
    from features.schema import FeatureSchema
    from ringwatch.progress import CountBar
    from ringwatch.wiring import open_assessor
    from training.blocks import LATE
    from training.fit import learn
    from training.judging import RULE_STAYS
    from training.reading import read_card, read_labelled
    from training.registry import open_registry

    card = read_card(folder)
    kinds, registry = card.entity_kinds, open_registry(settings)
    state = settings.data_dir / "training" / f"{card.content}-{given.seed}"
    with CountBar(Console(stderr=True), "training", quiet=quiet) as bar:
        bar.update(0.0, "reading")
        scorers = {s.name: s.version for s in open_assessor(settings, FeatureSchema(kinds)).scorers}
        labelled = read_labelled(folder, scorers, given.unlabelled)
        graph, notes = _graph(folder, card) if given.gnn else (None, [])
        held = hold_out(
            labelled,
            seed=given.seed,
            share=given.share,
            graph=graph,
            state=state,
            progress=lambda s, words: bar.update(s * _HELD_OUT, f"held out: {words}"),
        )
        learned = learn(
            labelled.table,
            seed=given.seed,
            graph=graph,
            rule=held.rule_stays,
            state=state,
            progress=lambda s, words: bar.update(_HELD_OUT + s * (0.95 - _HELD_OUT), f"on all labels: {words}"),
        )
        bar.update(0.95, "registering")
        version = _register(registry, labelled, held, learned, given)
    views = (("", learned.told), (" where labels have stopped", learned.untold))
    notes += [f"graph network{when}: {chosen.network}" for when, chosen in views if chosen.network]
    shutil.rmtree(state, ignore_errors=True)
    told, untold = held.rule_stays
    notes += [RULE_STAYS if told else f"{RULE_STAYS} where labels have stopped"] if told or untold else []
    notes += [LATE] if learned.late else []
    return version, held, labelled, notes


def _graph(folder: Path, card: Card) -> tuple[Graph | None, list[str]]:
    """What a graph network learns from, and why there is none."""
    from training import network
    from training.reading import read_stream

    if not network.there():
        return None, [network.WITHOUT_TORCH]
    graph = read_stream(folder, card)
    return graph, [] if graph is not None else ["without the graph network: the data set has no graph"]


def _register(registry: Any, labelled: Labelled, held: Holdout, learned: Any, given: Given) -> Version:
    """Everything about it as files of one run."""
    import hashlib
    from tempfile import TemporaryDirectory

    import msgspec

    from evaluate.holdout import importances
    from evaluate.plots import draw
    from scorers.learned.model_file import save
    from training.registry import ABOUT, CARD, MODEL, PLOTS

    card, table = labelled.card, labelled.table
    importance = importances(learned.model, table)
    data = {
        "source": card.job.source, "source_hash": card.job.source_hash, "schema": card.job.schema, "content": card.content,
        "rows": card.rows, "labelled": card.labelled, "frauds": card.frauds, "first_at": card.first_at, "last_at": card.last_at,
    }  # fmt: skip
    about = {
        "name": given.name, "seed": given.seed, "version_of_ringwatch": card.job.version, "data": data, "holdout": held.summary(),
        "trained_on": len(table), "assumed_good": labelled.assumed, "network": [learned.told.network, learned.untold.network],
        "importances": dict(list(importance.items())[:40]),
    }  # fmt: skip
    parameters = {
        "seed": given.seed, "trained_on": len(table), "assumed_good": labelled.assumed, "held_out": held.rows, "patience_s": learned.model.patience_s,
        "rule_stays": learned.model.told.rule, "late_labels": learned.late,
        **{f"{view}.inputs": len(chosen.inputs) for view, chosen in (("told", learned.told), ("untold", learned.untold))},
        **{
            f"{view}.{s.family}": f"{s.rounds} trees, {s.leaves} leaves, {s.least_rows} rows, rate {s.rate}"
            for view, chosen in (("told", learned.told), ("untold", learned.untold)) for s in chosen.settings
        },
    }  # fmt: skip
    with TemporaryDirectory(prefix="ringwatch-") as at:
        folder = Path(at)
        (folder / PLOTS).mkdir()
        draw(held, importance, folder / PLOTS)
        (folder / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=1))
        (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
        looked_at = {*learned.model.told.names, *learned.model.untold.names}
        columns = {name: msgspec.to_builtins(c) for name, c in card.columns.items() if name in looked_at}
        save(
            learned.model,
            folder / MODEL,
            schema=card.job.schema,
            card={**msgspec.to_builtins(about), "columns": columns},
        )
        sha256 = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
        metrics = {**held.metrics, **{f"rule.{name}": value for name, value in held.rule.items()}}
        tags = {"seed": str(given.seed), "data": card.content, "holdout": held.id, "sha256": sha256}
        version: Version = registry.register(
            folder, label=given.name, parameters=parameters, metrics=metrics, tags=tags
        )
    return version


def _print(
    version: Version,
    held: Holdout,
    labelled: Labelled,
    folder: Path,
    seconds: float,
    notes: list[str],
    doubts: list[str],
) -> None:
    from datetime import UTC, datetime

    from rich.console import Console

    from ringwatch.commands.models import figures_table, reliability_table

    console = Console(highlight=False)
    since = datetime.fromtimestamp(held.from_us / 1e6, UTC)
    if labelled.assumed:
        console.print(
            f"{labelled.assumed:,} events without a label count as good: they are older than {labelled.waited_us / DAY_US:.1f} days, in "
            "which half of the labels came. What is younger does not teach yet. (`--unlabelled leave` uses labels alone.)",
            soft_wrap=True,
        )
    console.print(
        f"Held out: {held.rows:,} events ({held.frauds:,} fraud) from {since:%Y-%m-%d %H:%M} on; trained on the "
        f"{held.trained_on:,} that were known by then.",
        soft_wrap=True,
    )
    console.print(figures_table(held.metrics, held.rule))
    console.print(reliability_table([(b.rows, b.least, b.most, b.said, b.was) for b in held.reliability]))
    console.print(
        f"Registered as [bold]version {version.number}[/bold]{_as(version)}, trained on all {len(labelled.table):,} events, the held-out "
        f"ones too; {seconds:.0f} s. The data set is kept in {folder}.",
        soft_wrap=True,
    )
    for note in notes:
        console.print(f"{note[0].upper()}{note[1:]}.", soft_wrap=True)
    for doubt in doubts:
        console.print(f"[yellow]warning:[/yellow] {doubt}", soft_wrap=True)
    if not version.aliases:
        console.print(f"It serves after `ringwatch models promote {version.number}`.", soft_wrap=True)


def _as(version: Version) -> str:
    return f" ({', '.join(version.aliases)})" if version.aliases else ""
