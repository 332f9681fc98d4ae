"""The rings of a data folder that a running service may hold: read from its newest snapshot, nothing is locked or written."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from features.schema import FeatureSchema
from rings.keeper import RingKeeper
from rings.ring import Ring, RingReader, RingSummary
from ringwatch.errors import BadInput, Corrupt, NotFound, did_you_mean
from ringwatch.model import BUILTIN_KINDS, Kind, Strength

MARKER = "ringwatch.json"
"""As in `ingest.folder`, which is above this folder."""
SNAPSHOTS = "snapshots"
RINGS_FILE = "rings.npz"


def open_rings(data_dir: Path) -> RingKeeper:
    """The keeper as of the newest snapshot that can be read.

    Raises NotFound where there is no data folder, snapshot, or rings in one; Corrupt where none of them can be read.
    """
    keeper = RingKeeper(FeatureSchema(_kinds(data_dir)))
    folder = data_dir / SNAPSHOTS
    snapshots = sorted((p for p in folder.iterdir() if p.name.isdigit()), reverse=True) if folder.is_dir() else []
    trouble, without = "", 0
    for path in snapshots:
        try:
            with np.load(path / RINGS_FILE, allow_pickle=False) as arrays:
                keeper.load({name: arrays[name] for name in arrays.files})
            return keeper
        except FileNotFoundError:  # made before rings were kept, or replaced by a newer one just now
            without += 1
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, Corrupt) as error:
            trouble = trouble or f"{path.name}: {error}"
    if trouble:
        raise Corrupt(
            f"no snapshot in {data_dir} has rings that can be read ({trouble})", hint="`ringwatch doctor` looks closer"
        )
    if without:
        raise NotFound(
            f"{data_dir} has no rings: it was made before they were kept",
            hint="ingest its events again, into another folder",
        )
    raise NotFound(f"{data_dir} has no snapshot yet", hint="`ringwatch ingest` makes one, `ringwatch demo` too")


def _kinds(data_dir: Path) -> tuple[Kind, ...]:
    try:
        content = json.loads((data_dir / MARKER).read_text())
    except FileNotFoundError:
        raise NotFound(
            f"{data_dir} is not a Ringwatch data folder", hint="name one with --data-dir; `ringwatch demo` makes one"
        ) from None
    except ValueError as error:
        raise Corrupt(f"{data_dir / MARKER} cannot be read: {error}", hint="restore it or reset the folder") from None
    stored = content.get("kinds") if isinstance(content, dict) else None
    return tuple(Kind(str(n), Strength(s), bool(c)) for n, s, c in stored) if stored else BUILTIN_KINDS


def find_ring(keeper: RingReader, given: str, tenant: str | None = None) -> Ring:
    """The ring by its id or the beginning of one. Raises NotFound, or BadInput where several begin so."""
    begin = given.rstrip("….")
    rings = keeper.rings(tenant)
    found = [r for r in rings if r.ring_id == begin] or [r for r in rings if begin and r.ring_id.startswith(begin)]
    if len(found) > 1:
        raise BadInput(f"{given!r} begins {len(found)} rings: {_some(found)}", hint="give more of the id, or --tenant")
    ring = keeper.ring(found[0].tenant, found[0].ring_id) if found else None
    if ring is None:
        hint = did_you_mean(given, [r.ring_id for r in rings], "`ringwatch rings` lists them all")
        raise NotFound(f"there is no ring {given!r}", hint=hint)
    return ring


def _some(found: Sequence[RingSummary]) -> str:
    names = [r.ring_id if len({f.tenant for f in found}) == 1 else f"{r.ring_id} of {r.tenant}" for r in found[:3]]
    return ", ".join(names) + ("..." if len(found) > 3 else "")
