"""Options several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from ringwatch.errors import BadInput, did_you_mean
from ringwatch.settings import Settings, unknown_names

if TYPE_CHECKING:
    from ingest.mapping import Mapping

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder (default: RINGWATCH_DATA_DIR, else ./ringwatch-data).")
]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", help="Mapping from the file's columns to events; without one, native JSON Lines."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Paths = Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.")]


def settings_with(data_dir: Path | None = None) -> Settings:
    """Settings from the environment, the data folder from the command line if given."""
    values: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    for name in unknown_names():
        known = [f"RINGWATCH_{field.upper()}" for field in Settings.model_fields]
        raise BadInput(
            f"{name} is not a setting", hint=did_you_mean(name, known, "`ringwatch settings` lists them all")
        )
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "RINGWATCH_" + "_".join(str(p) for p in first["loc"]).upper()
        raise BadInput(
            f"{name}: {first['msg']}, not {first['input']!r}", hint="`ringwatch settings` lists them all"
        ) from None


def mapping_from(path: Path | None) -> Mapping | None:
    if path is None:
        return None
    from ingest.mapping import load_mapping

    return load_mapping(path)
