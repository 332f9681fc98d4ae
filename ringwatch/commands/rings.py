"""`ringwatch rings` lists rings, `ringwatch rings show ID` draws one: in the terminal, as a page, or as a file for programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput, NotFound, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rings.entry import RingEntry
    from rings.ring import Ring, RingReader, RingSummary
    from rings.words import Money
    from ringwatch.model import Alert, Reason
    from ringwatch.settings import Settings

_LISTED = 20
_ALERTS_READ = 100_000

Tenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Write to this file, by its ending: .jsonl, .graphml, .json (node-link); - is standard output."
    ),
]
Format = Annotated[str | None, typer.Option("--format", help="jsonl, graphml or json, whatever the file's ending.")]

app = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="rings")


@app.callback()
def rings(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; 20 on the screen, all in a file.")] = None,
    risk: Annotated[float, typer.Option(min=0, max=1, help="Least risk.")] = 0.0,
    pattern: Annotated[
        str | None, typer.Option(help="Only rings alerted for this fraud pattern, such as account_takeover.")
    ] = None,
    tenant: Tenant = None,
    out: Out = None,
    form: Format = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """List rings, the riskiest first; `ringwatch rings show ID` draws one.

    Read from the newest snapshot, beside a service that runs on the folder; with Kafka from the ledger, of RINGWATCH_TENANT or --tenant.
    """
    if context.invoked_subcommand is not None:
        context.obj = data_dir
        return
    settings = settings_with(data_dir)
    keeper = _open(settings)
    every = keeper.rings(tenant)
    found = [r for r in every if r.risk >= risk and (pattern is None or _named(pattern) in map(_named, r.patterns))]
    found.sort(key=lambda r: (-r.risk, -r.users, r.tenant, r.ring_id))
    if pattern is not None and not found:
        _check_pattern(pattern, every)
    if out is not None or form is not None:
        _export([_whole(keeper, r) for r in found[:limit]], out or Path("-"), form)
    elif json:
        _print_json(found[:limit])
    else:
        _print_list(found[: limit or _LISTED], len(found), len(every), _money(settings))


@app.command()
def show(
    context: typer.Context,
    ring_id: Annotated[
        str, typer.Argument(metavar="ID", help="The ring's id, or its beginning if no other begins so.")
    ],
    html: Annotated[
        bool, typer.Option("--html", help="Write one self-contained page: ring-ID.html, or the file --out names.")
    ] = False,
    tenant: Tenant = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write to this file, by its ending: .html, .jsonl, .graphml, .json (node-link); - is standard output.",
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="html, jsonl, graphml or json, whatever the file's ending.")
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Draw a ring: why it is one, who shares what and since when, its alerts."""
    from rings.read import find_ring

    settings = settings_with(data_dir or context.obj)
    ring = find_ring(_open(settings), ring_id, tenant)
    if html and form not in (None, "html"):
        raise BadInput(f"--html and --format {form} together", hint="give one of them")
    if html or form == "html" or (out is not None and form is None and out.suffix.lower() in (".html", ".htm")):
        write_page(ring, out or Path(f"ring-{_file_name(ring.summary.ring_id)}.html"), settings)
    elif out is not None or form is not None:
        _export([ring], out or Path("-"), form)
    elif json:
        from rings.export import json_line

        sys.stdout.buffer.write(json_line(ring) + b"\n")
    else:
        draw_ring(ring, settings)


def _open(settings: Settings) -> RingReader:
    if settings.bus_url != "none:":
        from ringwatch.shared_wiring import ring_shelf

        return ring_shelf(settings)
    from rings.read import open_rings

    return open_rings(settings.data_dir)


def _whole(keeper: RingReader, summary: RingSummary) -> Ring:
    ring = keeper.ring(summary.tenant, summary.ring_id)
    if ring is None:
        raise NotFound(f"there is no ring {summary.ring_id!r}", hint="list them again")
    return ring


def _money(settings: Settings) -> Money:
    from ingest.currency import exponent
    from rings.words import Money

    return Money(settings.currency, exponent(settings.currency))


def _named(pattern: str) -> str:
    return pattern.lower().replace(" ", "_").replace("-", "_")


def _check_pattern(pattern: str, every: Sequence[RingSummary]) -> None:
    known = sorted({p for r in every for p in r.patterns})
    if _named(pattern) not in map(_named, known) and known:
        raise NotFound(f"no ring was alerted for {pattern!r}", hint=did_you_mean(_named(pattern), known))


def alerts_of(ring: Ring, settings: Settings) -> tuple[list[Alert], dict[str, Sequence[Reason]]]:
    """Alerts about the ring or any of its accounts, severest first, and the reasons of each by alert id; none without a ledger."""
    from ledger.read import read_alerts
    from ringwatch.wiring import ledger_place

    try:
        url, access = ledger_place(settings)
    except NotFound:
        return [], {}
    s, users = ring.summary, {m.user for m in ring.members}
    found = [
        (alert, reasons)
        for alert, reasons in read_alerts(url, limit=_ALERTS_READ, level=None, severest=True, access=access)
        if alert.tenant == s.tenant and (alert.ring == s.ring_id or not users.isdisjoint(alert.accounts) or
                                         (alert.kind == "user" and alert.entity in users))
    ]  # fmt: skip
    return [alert for alert, _ in found], {alert.alert_id: reasons for alert, reasons in found}


def history_of(ring: Ring, settings: Settings) -> list[RingEntry]:
    """Its last entries, oldest first; none without a ledger."""
    from ledger.read import read_history
    from rings.as_of import MOST_SHOWN
    from ringwatch.wiring import ledger_place

    try:
        url, access = ledger_place(settings)
    except NotFound:
        return []
    return read_history(url, ring.summary.tenant, ring.summary.ring_id, most=MOST_SHOWN, access=access)


def _print_list(found: Sequence[RingSummary], total: int, every: int, money: Money) -> None:
    from rich.console import Console

    from rings.terminal import print_rings

    console = Console(highlight=False)
    if found:
        print_rings(console, found, total, money)
    elif every:
        console.print(f"none of {every:,} rings is like that", highlight=False)
    else:
        console.print(
            "no rings: no two accounts share a device, card, address, e-mail, phone or bank account closely enough"
        )


def draw_ring(ring: Ring, settings: Settings) -> None:
    from rich.console import Console

    from rings.terminal import print_ring

    alerts, reasons = alerts_of(ring, settings)
    print_ring(Console(highlight=False), ring, alerts, reasons, _money(settings), history_of(ring, settings))


def _print_json(found: Sequence[RingSummary]) -> None:
    import msgspec

    for summary in found:
        sys.stdout.buffer.write(msgspec.json.encode(summary) + b"\n")


def write_page(ring: Ring, path: Path, settings: Settings) -> None:
    from rings.page import ring_page

    alerts, reasons = alerts_of(ring, settings)
    page = ring_page(ring, alerts, reasons=reasons, money=_money(settings), history=history_of(ring, settings))
    _write(path, page.encode(), "the page")


def _export(rings: Sequence[Ring], path: Path, form: str | None) -> None:
    from rings.export import encode, format_of

    _write(path, encode(rings, format_of(path, form)), f"{len(rings):,} rings" if len(rings) != 1 else "1 ring")


def _write(path: Path, content: bytes, what: str) -> None:
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    path.write_bytes(content)
    typer.echo(f"{what} in {path}")


def _file_name(ring_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in ring_id)[:80]
