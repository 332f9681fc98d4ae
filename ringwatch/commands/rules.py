"""`ringwatch rules`: check, prove, try on history, publish and take back the rules that people write."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.audit import recorded, who
from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput, NotFound

if TYPE_CHECKING:
    from desk.store import Act
    from evaluate.what_if import WhatIf
    from features.schema import FeatureSchema
    from ringwatch.settings import Settings
    from scorers.rules.history import Publication
    from scorers.rules.rule import RuleSet

RulesFile = Annotated[Path, typer.Argument(help="A rule file (YAML).")]
By = Annotated[str | None, typer.Option("--by", help="Who does it (default: the name you are logged in with).")]
Note = Annotated[str, typer.Option("--note", help="Why, for the history.")]
_OVERLAPS_SHOWN = 3

rules_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Rules that people write: check, prove, try on history, publish, take back.",
)


def register(app: typer.Typer) -> None:
    rules_app.command()(check)
    rules_app.command("test")(run_fixtures)
    rules_app.command("what-if")(what_if)
    rules_app.command()(publish)
    rules_app.command()(history)
    rules_app.command()(rollback)
    rules_app.command()(show)
    rules_app.command()(starter)
    app.add_typer(rules_app, name="rules")


def check(file: RulesFile, data_dir: DataDir = None) -> None:
    """Tell everything that is wrong with a rule file, each with file:line:column. Exit code 2 if anything is.

    Example: `ringwatch rules check my-rules.yaml`
    """
    rules = _load_or_exit(file, settings_with(data_dir))
    modes = ", ".join(f"{n} {mode}" for mode, n in rules.modes().items() if n)
    typer.echo(f"{file}: {len(rules.rules)} rules ({modes or 'none'}), version {rules.version}")


def run_fixtures(file: RulesFile, data_dir: DataDir = None) -> None:
    """Run the fixtures of a rule file. Exit code 1 if one fails; a rule that is not proved both ways is warned of.

    Example: `ringwatch rules test my-rules.yaml`
    """
    from scorers.rules.fixtures import prove

    rules = _load_or_exit(file, settings_with(data_dir))
    proof = prove(rules)
    for trouble in proof.unproved:
        typer.echo(f"warning: {trouble.at(str(file))}", err=True)
    for trouble in proof.failures:
        typer.echo(trouble.at(str(file)), err=True)
    passed = proof.fixtures - len(proof.failures)
    typer.echo(f"{file}: {passed} of {proof.fixtures} fixtures pass, {len(rules.rules)} rules")
    if proof.failures:
        raise typer.Exit(1)


def what_if(
    file: RulesFile,
    data_dir: DataDir = None,
    since: Annotated[str | None, typer.Option(help="Only events from this date on, for example 2026-05-01.")] = None,
    json: AsJson = False,
) -> None:
    """What the rules would have done over the ledger's history: volume, precision where labels exist, overlap.

    Rules in every mode are looked at, so a rule can be tried before it is turned on. The features are the stored ones, as of
    each event.

    Example: `ringwatch rules what-if my-rules.yaml --since 2026-05-01`
    """
    from dataclasses import asdict

    import msgspec
    from rich.console import Console

    from evaluate.what_if import what_if as run
    from ledger.sql_store import SqlLedger
    from ringwatch.model import HOUR_US
    from ringwatch.progress import CountBar
    from ringwatch.wiring import ledger_place, personal_key

    settings = settings_with(data_dir)
    url, access = ledger_place(settings)
    schema = _schema(settings)
    rules = _load_or_exit(file, settings)
    ledger = SqlLedger(url, schema, access, personal_key(settings))
    try:
        total, done = ledger.counts()["assessments"], 0
        with CountBar(Console(stderr=True), "what if", quiet=json) as bar:

            def show(events: int) -> None:
                nonlocal done
                done += events
                bar.show(done, total)

            since_us = None if since is None else time_us(since)
            window_us = int(settings.alert_window_h * HOUR_US)
            found = run(ledger, rules, since_us=since_us, window_us=window_us, progress=show)
    finally:
        ledger.close()
    if json:
        sys.stdout.write(msgspec.json.encode(asdict(found)).decode() + "\n")
    else:
        _print_what_if(found)


def _print_what_if(found: WhatIf) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    span = "" if found.from_us is None else f" from {_day(found.from_us)} to {_day(found.until_us or 0)}"
    console.print(
        f"{found.events:,} events{span}; {found.labelled:,} labelled, {found.fraud:,} fraud; {found.already:,} were MEDIUM or "
        f"higher. Rules of version {found.version} fire on {found.any_rule:,}.",
        soft_wrap=True,
    )
    rules = sorted(found.rules, key=lambda r: (-r.events, r.id))
    volume = Table(title="How much", title_justify="left", box=None, pad_edge=False)
    for title in ("rule", "mode", "events", "share", "users", "amount", "new alerts", "only this"):
        volume.add_column(title, justify="left" if title in ("rule", "mode") else "right", no_wrap=title == "rule")
    for r in rules:
        volume.add_row(
            r.id, r.mode, f"{r.events:,}", f"{r.share:.2%}", f"{r.users:,}", f"{r.amount_minor / 100:,.2f}",
            f"{r.new_alerts:,}", f"{r.only_this:,}",
        )  # fmt: skip
    worth = Table(title="\nHow good, and what it overlaps with", title_justify="left", box=None, pad_edge=False)
    for title in ("rule", "fraud", "good", "precision", "recall", "MEDIUM+", "overlaps most with"):
        left = title in ("rule", "overlaps most with")
        worth.add_column(title, justify="left" if left else "right", no_wrap=title == "rule")
    for r in rules:
        overlaps = sorted(r.overlap.items(), key=lambda pair: (-pair[1], pair[0]))[:_OVERLAPS_SHOWN]
        worth.add_row(
            r.id, f"{r.fraud:,}", f"{r.good:,}", "" if r.precision is None else f"{r.precision:.0%}",
            "" if r.recall is None else f"{r.recall:.1%}", f"{r.already:,}", ", ".join(f"{name} {n:,}" for name, n in overlaps),
        )  # fmt: skip
    console.print(volume)
    console.print(worth)
    console.print(
        "\nnew alerts: groups of events below MEDIUM it would raise; only this: such events no other rule fires on; MEDIUM+: its "
        "events that were MEDIUM or higher anyway.", soft_wrap=True,
    )  # fmt: skip


def publish(file: RulesFile, data_dir: DataDir = None, by: By = None, note: Note = "") -> None:
    """Check a rule file, run its fixtures, keep a copy, and make it the active one of the data folder.

    A running service takes it over within seconds, between two batches. `RINGWATCH_RULES`, where set, goes before it.

    Example: `ringwatch rules publish my-rules.yaml --note "tighter promo rules"`
    """
    settings = settings_with(data_dir)
    _load_or_exit(file, settings)
    past = _history(settings, make=True)
    with recorded(settings) as record:
        before = past.active()
        done = past.publish(file, by=_who(by), note=note, at=_now())
        record(_act(settings, "rules.publish", before, done, by))
    typer.echo(f"version {done.version} is active in {settings.data_dir}: {done.rules} rules")
    _tell_of_setting(settings)


def rollback(
    version: Annotated[str | None, typer.Argument(help="A version or its beginning; without: the one before.")] = None,
    data_dir: DataDir = None,
    by: By = None,
    note: Note = "",
) -> None:
    """Make an earlier published version the active one again.

    Example: `ringwatch rules rollback --note "too many alerts"`
    """
    settings = settings_with(data_dir)
    past = _history(settings)
    with recorded(settings) as record:
        before = past.active()
        done = past.rollback(version, by=_who(by), note=note, at=_now())
        record(_act(settings, "rules.rollback", before, done, by))
    typer.echo(f"version {done.version} is active again in {settings.data_dir}: {done.rules} rules")
    _tell_of_setting(settings)


def history(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Which versions were active when, by whom and why; newest first."""
    import msgspec
    from rich.console import Console
    from rich.markup import escape

    settings = settings_with(data_dir)
    published = _history(settings).all()
    if json:
        for p in reversed(published):
            sys.stdout.write(msgspec.json.encode(p).decode() + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    if not published:
        console.print(f"no rules were published in {escape(str(settings.data_dir))}")
    for i, p in enumerate(reversed(published)):
        mark = "[green]active[/green]" if i == 0 else "      "
        note = f": {p.note}" if p.note else ""
        console.print(f"{p.version} {mark} {p.at} {p.did:<8} {p.rules} rules by {escape(p.by + note)}")


def show(
    version: Annotated[
        str | None, typer.Argument(help="A published version or its beginning; without: what is in force.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Print the rule file of a version, or of what is in force."""
    settings = settings_with(data_dir)
    if version is None and settings.rules is not None:
        from scorers.rules.load import rules_text

        sys.stdout.write(rules_text(settings.rules))
    else:
        sys.stdout.write(_history(settings).text(version))


def starter(
    name: Annotated[str | None, typer.Argument(help="shop, marketplace, payments or games; without: a list.")] = None,
) -> None:
    """Print a starter set of rules for a kind of business.

    Example: `ringwatch rules starter shop > my-rules.yaml`
    """
    from scorers.rules.starter_sets import starter_names, starter_text

    sys.stdout.write("\n".join(starter_names()) + "\n" if name is None else starter_text(name))


def _load_or_exit(file: Path, settings: Settings) -> RuleSet:
    """The set of a file; its troubles on standard error and exit code 2 when it has any."""
    from ingest.card_numbers import holds_card_number
    from scorers.rules.load import load_rules, rules_text

    for number, line in enumerate(rules_text(file).splitlines(), 1):
        if holds_card_number(line):
            raise BadInput(f"{file}:{number}: a full card number", hint="it is kept nowhere: name the card's token")
    try:
        return load_rules(file, _schema(settings))
    except BadInput as error:
        troubles: list[str] | None = error.context.get("troubles")
        if not troubles:
            raise
        for trouble in troubles:
            typer.echo(trouble, err=True)
        typer.echo(f"{len(troubles)} {'trouble' if len(troubles) == 1 else 'troubles'}", err=True)
        raise typer.Exit(2) from None


def _schema(settings: Settings) -> FeatureSchema:
    """Of the data folder, so that its own kinds are known; the built-in one where there is no folder."""
    from features.schema import FeatureSchema
    from ringwatch.wiring import stored_kinds

    kinds = stored_kinds(settings.data_dir)
    return FeatureSchema(kinds) if kinds else FeatureSchema()


def _history(settings: Settings, *, make: bool = False) -> Any:
    from ingest.folder import MARKER, DataFolder
    from scorers.rules.history import RuleHistory

    if not (settings.data_dir / MARKER).exists():
        if not make:
            raise NotFound(f"{settings.data_dir} is not a Ringwatch data folder", hint="name one with --data-dir")
        DataFolder(settings.data_dir).close()
    return RuleHistory(settings.data_dir, _schema(settings))


def _tell_of_setting(settings: Settings) -> None:
    if settings.rules is not None:
        typer.echo(f"note: RINGWATCH_RULES names {settings.rules}, which goes before what is published", err=True)


def _act(settings: Settings, did: str, before: str | None, done: Publication, by: str | None) -> Act:
    from desk.store import Act

    new = {"version": done.version, "rules": done.rules}
    return Act(settings.tenant, who(by), did, "rules", "active", before and {"version": before}, new, done.note)


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d")


def time_us(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--since is {text!r}", hint="a date such as 2026-05-01") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
