"""Commands about trained models: list, show, promote, rollback."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.audit import recorded, who
from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import Corrupt

if TYPE_CHECKING:
    from rich.table import Table

    from ringwatch.settings import Settings
    from scorers.learned.shelf import Shelf

models = typer.Typer(no_args_is_help=True, help="Trained models: which there are, how good they are, which one serves.")
Number = Annotated[str, typer.Argument(help="A version's number, or champion, or challenger.", show_default=False)]
_WORDS = {
    "roc_auc": "AUC ROC", "average_precision": "average precision", "recall_at_1_percent": "recall at 1 % alerted",
    "f1_macro": "F1 macro", "brier": "Brier score (0 is best)", "ece": "calibration error (0 is best)",
}  # fmt: skip
_TOP = 15


def register(app: typer.Typer) -> None:
    app.add_typer(models, name="models")


@models.command("list")
def list_(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Versions, newest first: alias, figures on held-out rows, data, seed, when.

    Example: `ringwatch models list`
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from training.registry import open_registry

    found = open_registry(settings_with(data_dir)).versions()
    if json:
        _write(found)
        return
    console = Console(highlight=False)
    if not found:
        console.print("No model is registered: `ringwatch train` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "name", "AUC", "AP", "Brier", "held out", "data", "seed", "trained"):
        table.add_column(column, no_wrap=column != "name")
    for v in found:
        figures = [f"{v.metrics[n]:.4f}" if n in v.metrics else "" for n in ("roc_auc", "average_precision", "brier")]
        number = " ".join((v.number, *(f"[bold]{alias}[/bold]" for alias in v.aliases)))
        table.add_row(number, escape(v.label), *figures, v.holdout[:6], v.data[:6], v.seed, v.created[:10])
    console.print(table)
    console.print("Figures of versions with the same `held out` compare.")


@models.command()
def show(number: Number, data_dir: DataDir = None, json: AsJson = False) -> None:
    """One version: data, figures, reliability, strongest inputs.

    Example: `ringwatch models show champion`
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from training.registry import open_registry

    registry = open_registry(settings_with(data_dir))
    version = registry.version(number)
    about = registry.about(version)
    if json:
        _write({**asdict(version), **about})
        return
    data, held = about["data"], about["holdout"]
    facts = Table(show_header=False, box=None, pad_edge=False)
    for row in (
        ("version", f"{version.number} {escape(version.label)}"),
        ("alias", ", ".join(version.aliases) or "none"),
        (
            "trained",
            f"{version.created}, seed {version.seed}, on {about['trained_on']:,} events, {about['assumed_good']:,} without a label",
        ),
        ("data", f"{data['source']}: {data['rows']:,} events, {data['labelled']:,} labelled, {data['frauds']:,} fraud"),
        ("time", f"{data['first_at'][:19]} to {data['last_at'][:19]}"),
        ("content", version.data),
        ("features", data["schema"]),
        ("file", f"sha256 {version.sha256[:16]}"),
        ("held out", f"{held['rows']:,} events, {held['frauds']:,} fraud ({version.holdout})"),
        ("rule", "stays beside the model" if any(held.get("rule_stays", ())) else "not beside the model"),
        ("network", next((words for words in about.get("network", ()) if words), "none")),
    ):
        facts.add_row(*row)
    console = Console(highlight=False)
    console.print(facts)
    console.print(figures_table(held["metrics"], held["rule"]))
    columns = ("rows", "least", "most", "said", "was")
    console.print(reliability_table([tuple(b[c] for c in columns) for b in held["reliability"]]))
    strongest = Table("input", "moves the log-odds by", title="Strongest inputs", title_justify="left")
    for name, value in list(about["importances"].items())[:_TOP]:
        strongest.add_row(name, f"{value:.3f}")
    console.print(strongest)


@models.command()
def promote(
    number: Number,
    as_: Annotated[str, typer.Option("--as", help="champion decides, challenger is scored beside it.")] = "champion",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Let a version serve: services that run on this data folder take it over.

    Example: `ringwatch models promote 3`, `ringwatch models promote 4 --as challenger`
    """
    from rich.console import Console

    from ringwatch.wiring import open_shelf
    from training.promotion import promote as serve
    from training.registry import open_registry

    settings = settings_with(data_dir)
    registry, shelf = open_registry(settings), open_shelf(settings)
    with changing(settings, shelf, "models.promote"):
        version, doubts = serve(registry, shelf, number, as_)
    for doubt in doubts:
        Console(stderr=True, highlight=False).print(f"[yellow]warning:[/yellow] {doubt}", soft_wrap=True)
    _said(settings, f"version {version.number} serves as {as_}", json=json, warnings=doubts)


@models.command()
def rollback(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Let the champion before serve again, before the first one the robust rule.

    Example: `ringwatch models rollback`
    """
    from ringwatch.wiring import open_shelf
    from training.promotion import rollback as serve
    from training.registry import open_registry

    settings = settings_with(data_dir)
    registry, shelf = open_registry(settings), open_shelf(settings)
    with changing(settings, shelf, "models.rollback"):
        version = serve(registry, shelf)
    words = "the robust rule decides" if version is None else f"version {version.number} serves as champion"
    _said(settings, f"{words} again", json=json, warnings=[])


@models.command()
def retire(
    alias: Annotated[str, typer.Argument(help="champion or challenger.")] = "champion",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Let no model serve as champion: the robust rule decides again. Or none as challenger.

    Example: `ringwatch models retire`, `ringwatch models retire challenger`
    """
    from ringwatch.wiring import open_shelf
    from training.promotion import retire as end
    from training.registry import open_registry

    settings = settings_with(data_dir)
    registry, shelf = open_registry(settings), open_shelf(settings)
    with changing(settings, shelf, "models.retire"):
        version = end(registry, shelf, alias)
    rest = "the robust rule decides" if alias == "champion" else "no model is scored beside"
    _said(settings, f"version {version.number} serves as {alias} no more: {rest}", json=json, warnings=[])


@contextmanager
def changing(settings: Settings, shelf: Shelf, did: str) -> Iterator[None]:
    """What serves is changed inside, and the audit trail says so."""
    from desk.store import Act

    with recorded(settings) as record:
        before = _serving(shelf)
        yield
        record(Act(settings.tenant, who(), did, "models", "serving", before, _serving(shelf)))


def _serving(shelf: Shelf) -> dict[str, str | None]:
    """Ids of what serves; nothing where the list cannot be read, which a promotion writes anew."""
    try:
        serving = shelf.serving()
    except Corrupt:
        return {}
    placed = {"champion": serving.champion, "challenger": serving.challenger}
    return {role: None if one is None else one.id for role, one in placed.items()}


def _said(settings: Settings, words: str, *, json: bool, warnings: list[str]) -> None:
    from rich.console import Console

    from ringwatch.wiring import open_shelf

    shelf = open_shelf(settings)
    if json:
        _write({"serving": shelf.serving(), "warnings": warnings})
    else:
        Console(highlight=False).print(f"{words}; shelf: {shelf.folder}", soft_wrap=True)


def figures_table(metrics: Mapping[str, float], rule: Mapping[str, float]) -> Table:
    from rich.table import Table

    table = Table("on held-out rows", "model", "robust rule")
    for name, words in _WORDS.items():
        table.add_row(words, f"{metrics[name]:.4f}", f"{rule[name]:.4f}" if name in rule else "")
    return table


def reliability_table(bins: Sequence[tuple[Any, ...]]) -> Table:
    """Of (rows, least, most, said, was)."""
    from rich.table import Table

    table = Table("rows", "said from", "to", "on the mean", "was fraud", title="Reliability", title_justify="left")
    for rows, least, most, said, was in bins:
        table.add_row(f"{rows:,}", f"{least:.4f}", f"{most:.4f}", f"{said:.4f}", f"{was:.4f}")
    return table


def _write(content: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=1).decode() + "\n")
