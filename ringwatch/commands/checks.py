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
    yield _personal(settings)
    yield from _scorers(settings)
    yield from _folder(settings) if settings.bus_url == "none:" else _servers(settings)


def _kernel() -> Check:
    from features.compiled import _CACHE_FOLDER

    if _CACHE_FOLDER is None:
        return "kernel cache", "the package folder cannot be written: every start compiles for about 20 s", ""
    return "kernel cache", None, "compiled code is kept"


def _personal(settings: Settings) -> Check:
    from ringwatch.wiring import PERSONAL_KEY_FILE, personal_key

    name = "personal fields"
    try:
        key = personal_key(settings)
    except RingwatchError as error:
        return name, str(error), ""
    if key is not None:
        where = settings.personal_key_file or settings.data_dir / PERSONAL_KEY_FILE
        return name, None, f"sealed by the key in {where}"
    if settings.bus_url == "none:":
        return name, None, "sealed by a key that the first event makes"
    return name, None, "not sealed: RINGWATCH_PERSONAL_KEY_FILE names no key"


def _scorers(settings: Settings) -> Iterator[Check]:
    from features.schema import FeatureSchema
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.wiring import stored_kinds

    try:
        schema = FeatureSchema(stored_kinds(settings.data_dir) or BUILTIN_KINDS)
        assessor = open_assessor(settings, schema, serves=True)
    except RingwatchError as error:
        yield "scorers", str(error), ""
        return
    yield "scorers", None, ", ".join(s.name for s in assessor.scorers)
    known = ", ".join(f"{role} {id_}" for role, id_ in assessor.book.known.items())
    yield "models", assessor.book.trouble or None, known


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


def _servers(settings: Settings) -> Iterator[Check]:
    """Where several processes share the work: each server is asked."""
    for name, ask in (("kafka", _kafka), ("redis", _redis), ("ledger", _ledger), ("neo4j", _neo4j)):
        try:
            yield name, None, ask(settings)
        except RingwatchError as error:
            yield name, str(error), ""


def _kafka(settings: Settings) -> str:
    from bus.clients import reached
    from bus.topics import Topics
    from ringwatch.access import open_bus

    partitions = Topics(settings.topic_prefix).check(reached(open_bus(settings)))
    return f"the topics {settings.topic_prefix}.* are there, with {partitions} partitions"


def _redis(settings: Settings) -> str:
    from features.schema import FeatureSchema
    from features.shared_state import StateLost
    from ringwatch.access import open_shared_state
    from ringwatch.shared_wiring import kinds_of

    state = open_shared_state(settings, FeatureSchema(kinds_of(settings.data_dir)))
    try:
        state.ready()
        whole = "the state is whole"
    except StateLost:
        whole = "the state is new or lost: a scorer sees to it when it starts"
    try:
        return f"{state.stats()['keys']:,} keys; {whole}"
    finally:
        state.close()


def _ledger(settings: Settings) -> str:
    from features.schema import FeatureSchema
    from ringwatch.shared_wiring import kinds_of, ledger_of

    ledger = ledger_of(settings, None, FeatureSchema(kinds_of(settings.data_dir)))
    try:
        ledger.progress("")
    finally:
        ledger.close()
    return "it has its tables"


def _neo4j(settings: Settings) -> str:
    from ringwatch.access import open_neo4j

    graph = open_neo4j(settings)
    if graph is None:
        return "RINGWATCH_GRAPH_URL is none: there is no graph"
    try:
        graph.applied_position()
    finally:
        graph.close()
    return "it answers"
