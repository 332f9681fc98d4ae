"""Commands that look at data: map."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("map")(propose_map)


def propose_map(file: Annotated[str, typer.Argument(help="A CSV, JSON Lines or Parquet file.")]) -> None:
    """Propose a mapping for a file: which columns are the time, the user, the amount, the label.

    Example: `ringwatch map payments.csv > my.yaml`, then look it through and `ringwatch ingest payments.csv --map my.yaml`.
    """
    from pathlib import Path

    from ingest.mapping_proposal import propose

    sys.stdout.write(propose(Path(file)))
