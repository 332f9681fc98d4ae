"""`ringwatch audit`: who did what, and whether anybody changed that since."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput, Corrupt, NotFound

if TYPE_CHECKING:
    from desk.chain import Checked, Head
    from desk.store import Act, Desk
    from ringwatch.settings import Settings

audit_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Who did what, when and why; hash-chained, so that a change of it shows.",
)
Tenant = Annotated[str | None, typer.Option(help="Of this tenant (default: of every one).")]


def register(app: typer.Typer) -> None:
    audit_app.command()(verify)
    audit_app.command()(show)
    audit_app.command()(head)
    app.add_typer(audit_app, name="audit")


def who(named: str | None = None) -> str:
    """Who acts at the command line: the one that is named, else the user of this machine."""
    try:
        return f"cli:{named or getpass.getuser()}"
    except (KeyError, OSError):
        return "cli:unknown"


@contextmanager
def recorded(settings: Settings) -> Iterator[Callable[[Act], None]]:
    """What is done inside is in the audit trail, or it is not done: the trail is opened before, and closed with it."""
    from ringwatch.wiring import open_desk

    with closing(open_desk(settings)) as desk, desk.writing() as connection:

        def record(act: Act) -> None:
            desk.append(connection, act)

        yield record


def verify(
    tenant: Tenant = None,
    noted: Annotated[
        str | None,
        typer.Option(help="A head that `ringwatch audit head` printed earlier, NUMBER:HASH; needs --tenant."),
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Look through the whole trail: entries changed, removed, added or put in another place are named. Exit code 1 where there are any.

    Removing the newest entries together with their head shows only against a head that was noted elsewhere.

    Example: `ringwatch audit verify --tenant acme --noted 1207:9f2c...`
    """
    from rich.console import Console

    from ringwatch.progress import CountBar

    if noted is not None and tenant is None:
        raise BadInput("--noted is given without --tenant", hint="a head is of one tenant's chain")
    with closing(_desk(settings_with(data_dir))) as desk:
        found: list[Checked] = []
        with CountBar(Console(stderr=True), "audit", quiet=json) as bar:
            looked_at = 0

            def tell(n: int) -> None:
                bar.update(None, f"{looked_at + n:,} entries")

            for name in desk.tenants() if tenant is None else [tenant]:
                found.append(desk.verify(name, None if noted is None else _head(name, noted), tell))
                looked_at += found[-1].entries
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        for one in found:
            good = not one.troubles
            console.print(
                f"{one.tenant}: {one.entries:,} entries, {'as they were written' if good else '[red]changed[/red]'}; head {one.head}"
            )
            for trouble in one.troubles:
                console.print(f"  {trouble}", markup=False)
    if any(one.troubles for one in found):
        raise Corrupt("the audit trail is not as it was written", hint="compare with a backup of the desk's tables")


def show(
    tenant: Annotated[str | None, typer.Option(help="Whose (default: RINGWATCH_TENANT).")] = None,
    target: Annotated[str | None, typer.Option(help="What was done to this alone, KIND:ID.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most, the newest first.")] = 50,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Print what was done, the newest first.

    Example: `ringwatch audit show --target rules:active --limit 20`
    """
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from desk.store import shown

    settings = settings_with(data_dir)
    kind, _, id_ = (target or "").partition(":")
    if target is not None and not id_:
        raise BadInput(f"--target is {target!r}", hint="KIND:ID, for example rules:active")
    with closing(_desk(settings)) as desk:
        entries = desk.entries(tenant or settings.tenant, limit=limit, kind=kind or None, target=id_ or None)
    if json:
        for one in shown(entries):
            sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
        return
    table = Table("number", "at", "who", "did", "to", "before", "after", "why", box=None)
    for e in entries:
        table.add_row(str(e.number), _time(e.at_us), e.who, e.did, f"{e.kind}:{e.target}", e.old, e.new, e.why)
    Console(highlight=False, markup=False).print(table) if entries else typer.echo("nobody has done anything yet")


def head(tenant: Tenant = None, data_dir: DataDir = None, json: AsJson = False) -> None:
    """Print where each chain ends, to be noted elsewhere: against a noted head `verify` shows that the newest entries were removed.

    Example: `ringwatch audit head >> /somewhere/else/heads`
    """
    import msgspec

    with closing(_desk(settings_with(data_dir))) as desk:
        for name in desk.tenants() if tenant is None else [tenant]:
            found = desk.head(name)
            line = msgspec.json.encode({"tenant": name, "head": str(found)}).decode() if json else f"{name} {found}"
            sys.stdout.write(line + "\n")


def _desk(settings: Settings) -> Desk:
    """For a look into it. Raises NotFound where there is none."""
    from ringwatch.wiring import DESK_FILE, open_desk

    if settings.ledger_url == "sqlite:" and not (settings.data_dir / DESK_FILE).is_file():
        message = f"{settings.data_dir} has no audit trail"
        raise NotFound(
            message, hint="it begins when somebody changes what counts, for example with `ringwatch rules publish`"
        )
    return open_desk(settings)


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat(timespec="seconds")


def _head(tenant: str, text: str) -> Head:
    from desk.chain import Head

    number, _, hash_ = text.partition(":")
    if not number.isdecimal() or len(hash_) != 64:
        raise BadInput(f"--noted is {text!r}", hint="NUMBER:HASH, as `ringwatch audit head` prints it")
    return Head(tenant, int(number), hash_)
