"""Commands for real servers without containers: up, down, status."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringwatch.commands.options import AsJson
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from servers.launcher import Servers, Status

Folder = Annotated[Path, typer.Option("--data-dir", help="Folder of the servers: their data, logs and passwords.")]
Only = Annotated[str | None, typer.Option("--only", help="Of redis, postgres, kafka, neo4j; with commas.")]

servers_app = typer.Typer(
    name="servers", no_args_is_help=True, help="Neo4j, Kafka, Redis and PostgreSQL on this machine, without containers."
)
_FOLDER = Path("ringwatch-servers")


def register(app: typer.Typer) -> None:
    app.add_typer(servers_app, name="servers")


@servers_app.command()
def up(
    data_dir: Folder = _FOLDER,
    only: Only = None,
    kafka_heap_mb: Annotated[int | None, typer.Option(min=128, max=65_536, help="Kafka's heap, in MiB (384).")] = None,
    neo4j_heap_mb: Annotated[int | None, typer.Option(min=256, max=65_536, help="Neo4j's heap, in MiB (512).")] = None,
    neo4j_cache_mb: Annotated[
        int | None, typer.Option(min=16, max=1_048_576, help="Neo4j's page cache, in MiB (256).")
    ] = None,
) -> None:
    """Start what does not run yet, wait until each answers, print the settings that lead to them.

    Ports and sizes stay the same from one start to the next; other sizes count from a server's next start.
    The settings go to standard output and to the file `env` in the folder.

    Example: `ringwatch servers up && set -a && . ringwatch-servers/env && set +a`
    """
    from servers.server import Sizing

    here = _servers(data_dir)
    before = here.sizing
    sizing = Sizing(
        kafka_heap_mb or before.kafka_heap_mb,
        neo4j_heap_mb or before.neo4j_heap_mb,
        neo4j_cache_mb or before.neo4j_cache_mb,
    )
    here.up(_names(only), sizing)
    for name, value in here.settings.items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    lines = [f"the same is in a file: set -a; . {shlex.quote(str(data_dir / 'env'))}; set +a"]
    lines += (
        [f"Neo4j Browser: {here.browser} (user neo4j, password in {data_dir}/secrets/neo4j)"] if here.browser else []
    )
    print("\n".join([*lines, "stop them with `ringwatch servers down`"]), file=sys.stderr)


@servers_app.command()
def down(
    data_dir: Folder = _FOLDER,
    only: Only = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove their data too, of all of them.")] = False,
) -> None:
    """Stop them and keep their data; one that does not stop within a minute is killed."""
    if delete and only is not None:
        raise BadInput("--delete removes the data of all servers, and --only names some", hint="leave one of them out")
    here = _servers(data_dir)
    if delete:
        here.delete()
    else:
        here.down(_names(only))


@servers_app.command()
def status(data_dir: Folder = _FOLDER, json: AsJson = False) -> None:
    """Say how each server is: running, paused, silent, died or stopped. Exit code 1 unless all of them run."""
    import msgspec

    found = _servers(data_dir).status()
    if json:
        rows = [one.as_dict() for one in found]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode())
    else:
        print("\n".join(_line(one) for one in found) or f"no servers in {data_dir}: `ringwatch servers up` starts them")
    if not found or any(one.state != "running" for one in found):
        raise typer.Exit(1)


def _servers(folder: Path) -> Servers:
    from servers.launcher import Servers

    logging.getLogger("neo4j").addHandler(logging.NullHandler())  # what it says of a server that is not up yet
    started = time.monotonic()
    return Servers(
        folder, lambda name, line: print(f"{time.monotonic() - started:6.1f} s  {name:8}  {line}", file=sys.stderr)
    )


def _names(only: str | None) -> tuple[str, ...]:
    from servers.launcher import NAMES

    return NAMES if only is None else tuple(name.strip() for name in only.split(",") if name.strip())


def _line(one: Status) -> str:
    ports = ", ".join(f"{name} {port}" for name, port in one.ports.items())
    if not one.pid:
        hint = "; `ringwatch servers up` starts it again" if one.state == "died" else ""
        return f"{one.name:8}  {one.state:7}  {ports}{hint}"
    more = f"; {one.trouble}" if one.trouble else ""
    return (
        f"{one.name:8}  {one.state:7}  {ports}  process {one.pid}, {one.memory_mb:,.0f} MiB, up {one.up_s:,.0f} s{more}"
    )
