"""`ringwatch policy`: look at a policy before it counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from evaluate.alert_past import Proposal

policy_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Policies: what they would have meant."
)


def register(app: typer.Typer) -> None:
    policy_app.command("what-if")(what_if)
    app.add_typer(policy_app, name="policy")


@policy_app.callback()
def _policy() -> None:
    pass


def what_if(
    file: Annotated[Path, typer.Argument(help="A policy file (YAML).")],
    data_dir: DataDir = None,
    since: Annotated[str | None, typer.Option(help="Only events from this date on, for example 2026-05-01.")] = None,
    json: AsJson = False,
) -> None:
    """The alert threshold that the ledger's history asks for, of each tenant whose policy has an `alerting`.

    Scores are the stored ones: the file's weights change nothing here. What is counted is an account's day.

    Example: `ringwatch policy what-if my-policy.yaml --since 2026-05-01`
    """
    import msgspec
    from rich.console import Console

    from evaluate.alert_past import propose
    from features.schema import FeatureSchema
    from ledger.sql_store import SqlLedger
    from ringwatch.commands.rules import time_us
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.progress import CountBar
    from ringwatch.wiring import ledger_place, personal_key, stored_kinds
    from scorers.policy import load_policy

    settings = settings_with(data_dir)
    policy = load_policy(file)
    if not any(p.alerting for p in (policy.default, *policy.tenants.values())):
        raise BadInput(
            f"{file} has no alerting", hint="for example default: {alerting: {budget: {alerts_per_day: 40}}}"
        )
    url, access = ledger_place(settings)
    schema = FeatureSchema(stored_kinds(settings.data_dir) or BUILTIN_KINDS)
    ledger = SqlLedger(url, schema, access, personal_key(settings))
    try:
        total, done = ledger.counts()["assessments"], 0
        with CountBar(Console(stderr=True), "what if", quiet=json) as bar:

            def show(events: int) -> None:
                nonlocal done
                done += events
                bar.show(done, total)

            found = propose(ledger, policy, since_us=None if since is None else time_us(since), progress=show)
    finally:
        ledger.close()
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print(found)


def _print(found: list[Proposal]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "tenant",
        "asked by",
        "level from",
        "shown",
        "accounts a day",
        "with fixed levels",
        "labelled",
        "precision",
        "recall",
    )
    for p in found:
        shown = "-" if p.expected is None else f"{p.expected:.4g}" + ("" if p.reached else ", not reached")
        table.add_row(
            p.tenant, p.kind, f"{p.level} {p.threshold:.4g}", shown, f"{p.accounts_a_day:.1f}", f"{p.accounts_a_day_fixed:.1f}",
            str(p.labelled), *("-" if x is None else f"{x:.2f}" for x in (p.precision, p.recall)),
        )  # fmt: skip
    Console(highlight=False).print(table)
