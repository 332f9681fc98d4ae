"""`ringwatch erase`: what is known of a person besides ids, gone for good."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput


def register(app: typer.Typer) -> None:
    app.command()(erase)


def erase(
    user: Annotated[str, typer.Option(help="The user, by the id that events gave, or its token.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the audit trail.")],
    tenant: Annotated[str | None, typer.Option(help="Whose user (default: RINGWATCH_TENANT).")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Destroy the key of a user's personal fields (user agent, place, order, attributes) and clear them from its events, for good; beside running
    processes. Decisions, alerts and links stay, by id. Done again after it was stopped, it is ended.

    Example: `ringwatch erase --tenant acme --user u-1207 --reason "request 4711"`
    """
    import msgspec

    from desk.erasure import erase as erased
    from features.schema import FeatureSchema
    from ringwatch.commands.audit import who
    from ringwatch.shared_wiring import kinds_of
    from ringwatch.wiring import open_decoder, open_desk, open_queries

    settings = settings_with(data_dir)
    of, kinds = tenant or settings.tenant, kinds_of(settings.data_dir)
    names = dict.fromkeys((user, open_decoder(settings, kinds, of).token("user", user)))
    with closing(open_queries(settings, FeatureSchema(kinds))) as ledger, closing(open_desk(settings)) as desk:
        ledger.prepare()
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"erase user {user!r} of {of} for good?")):
            raise BadInput("nothing was erased", hint="it cannot be undone: say --yes")
        found = erased(desk, ledger.eraser(), of, list(names), who(), reason)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    typer.echo(
        f"erased: {'its key, and ' if found.key else ''}the personal fields of {found.events:,} events; "
        f"in the audit trail as subject:{found.token}"
    )
    if not found.out_of_files:
        typer.echo("the database's files may hold it a little longer: docs/privacy.md")
