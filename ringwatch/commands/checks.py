"""What `ringwatch doctor` looks at."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator

from ringwatch.errors import RingwatchError
from ringwatch.settings import Settings
from ringwatch.wiring import free_of, open_assessor

Check = tuple[str, str | None, str]
"""Name, trouble with what to do (None: fine), what was found."""
_LEAST_FREE = 2 * 1024**3


def checks(settings: Settings) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield "python", None if sys.version_info >= (3, 11) else f"{version}: 3.11 or newer is needed", version
    for package in ("numpy", "numba", "pyarrow", "scikit-learn", "sqlalchemy", "ladybug", "msgspec"):
        try:
            yield package, None, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed: run `make install`", ""
    free = free_of(settings.data_dir)
    gib = f"{free / 1024**3:.1f} GiB free"
    yield "disk", None if free > _LEAST_FREE else f"{gib}: at least 2 GiB are needed", gib
    yield _kernel()
    yield _scorers(settings)
    yield from _folder(settings)


def _kernel() -> Check:
    from features.compiled import _CACHE_FOLDER

    if _CACHE_FOLDER is None:
        return "kernel cache", "the package folder cannot be written: every start compiles for about 20 s", ""
    return "kernel cache", None, "compiled code is kept"


def _scorers(settings: Settings) -> Check:
    from features.schema import FeatureSchema

    try:
        assessor = open_assessor(settings, FeatureSchema())
    except RingwatchError as error:
        return "scorers", str(error), ""
    return "scorers", None, ", ".join(assessor.names)


def _folder(settings: Settings) -> Iterator[Check]:
    if not settings.data_dir.exists():
        yield "data folder", None, f"{settings.data_dir} does not exist yet"
        return
    from ringwatch.wiring import open_service

    try:
        service = open_service(settings)
    except RingwatchError as error:
        yield "data folder", str(error), ""
        return
    counts = service.pipeline.outlets.ledger.counts()
    service.close()
    yield (
        "data folder",
        None,
        f"{settings.data_dir}: {counts['assessments']:,} assessments, {counts['alerts']:,} alerts",
    )
