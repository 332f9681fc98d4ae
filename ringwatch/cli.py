"""The `ringwatch` command: errors as one line and a hint, and the commands by group."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from tempfile import mkstemp

import typer
from rich.console import Console
from rich.markup import escape

from ringwatch.commands import (
    audit,
    datasets,
    demo,
    erase,
    inspect,
    keys,
    ledger,
    models,
    policy,
    rings,
    rules,
    run,
    serve,
    servers,
    state,
    study,
    topics,
    train,
)
from ringwatch.errors import BadInput, Conflict, NotFound, RingwatchError

app = typer.Typer(
    name="ringwatch",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""Find fraud rings in a stream of events: link users, devices, cards and addresses, score each event, say why.

Start here: `ringwatch demo` shows everything on a simulated marketplace. Then your own data:
`ringwatch map FILE > my.yaml`, `ringwatch ingest FILE --map my.yaml`, `ringwatch alerts`.""",
)
for group in (
    demo,
    run,
    serve,
    servers,
    topics,
    state,
    ledger,
    study,
    datasets,
    train,
    models,
    inspect,
    keys,
    rings,
    rules,
    policy,
    audit,
    erase,
):
    group.register(app)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted."""
    console = Console(stderr=True, highlight=False)
    try:
        app(standalone_mode=True)
    except RingwatchError as error:
        console.print(f"[red]error:[/red] {escape(error.message)}", soft_wrap=True, markup=True)
        if error.hint:
            console.print(f"       {error.hint}", soft_wrap=True, markup=False)
        sys.exit(2 if isinstance(error, BadInput | Conflict | NotFound) else 1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        console.print(f"[red]error:[/red] {escape(place)}{error.strerror}", soft_wrap=True, markup=True)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the top: nothing above to handle it
        handle, name = mkstemp(prefix="ringwatch-error-", suffix=".txt")
        with open(handle, "w") as file:
            traceback.print_exc(file=file)
        console.print(
            f"[red]unexpected:[/red] {type(error).__name__}: {escape(str(error))}", soft_wrap=True, markup=True
        )
        console.print(f"       details are in {Path(name)}", soft_wrap=True, markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
