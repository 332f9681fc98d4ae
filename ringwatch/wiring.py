"""All choice of backend: settings in, connected parts out. Adapters are imported in the arms that need them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from features.schema import FeatureSchema
from features.state import StateStore
from ringwatch.errors import BadInput, Conflict, Corrupt, NotFound
from ringwatch.model import BUILTIN_KINDS, DAY_US, HOUR_US, Kind, Strength
from ringwatch.settings import Settings
from scorers.assess import Assessor

if TYPE_CHECKING:
    from desk.store import Desk
    from desk.watch import ListsWatch
    from explain.past import Past
    from graph.store import GraphStore
    from ingest.events import EventDecoder
    from ingest.file_source import FileSource
    from ingest.folder import DataFolder
    from ingest.mapping import Mapping
    from ingest.pipeline import Pipeline
    from ingest.stream import ScoringStream
    from ledger.personal import MasterKey
    from ledger.postgres import PostgresAccess
    from ledger.queries import LedgerQueries
    from ledger.store import LedgerStore
    from scorers.learned.shelf import Shelf
    from scorers.rules.book import RuleBook
    from scorers.rules.rule import RuleSet


LEDGER_FILE, DESK_FILE, AUDIT_KEY_FILE, PERSONAL_KEY_FILE = "ledger.sqlite", "desk.sqlite", "audit.key", "personal.key"


def open_state(settings: Settings, schema: FeatureSchema) -> StateStore:
    match settings.state_url.split(":", 1)[0]:
        case "memory":
            from features.memory_state import MemoryState

            late_us = int(settings.late_full_h * HOUR_US)
            return MemoryState(schema, max_entities=settings.max_entities, late_full_us=late_us)
        case other:
            hint = "processes share it when events come from Kafka: RINGWATCH_BUS_URL=kafka://host:port"
            raise BadInput(f"RINGWATCH_STATE_URL begins with {other!r}", hint=hint)


def open_graph(settings: Settings, folder: DataFolder, kinds: Sequence[Kind]) -> GraphStore | None:
    match settings.graph_url.split(":", 1)[0]:
        case "none":
            return None
        case "ladybug":
            from graph.ladybug_store import LadybugGraph

            graph = LadybugGraph(folder.graph)
            graph.prepare(kinds)
            return graph
        case _:
            from ringwatch.access import open_neo4j

            server = open_neo4j(settings)
            assert server is not None
            server.prepare(kinds)
            return server


def open_ledger(settings: Settings, folder: DataFolder, schema: FeatureSchema) -> LedgerStore:
    match settings.ledger_url.split(":", 1)[0]:
        case "sqlite":
            from ledger.sql_store import SqlLedger

            ledger = SqlLedger(f"sqlite:///{folder.ledger}", schema, master=personal_key(settings, make=True))
            ledger.prepare()
            return ledger
        case _:
            from ledger.sql_store import SqlLedger
            from ringwatch.access import postgres_access
            from ringwatch.secret_files import without_secret

            url, master = without_secret("ledger_url", settings.ledger_url), personal_key(settings, make=True)
            server = SqlLedger(url, schema, postgres_access(settings), master)
            server.prepare()
            return server


def personal_key(settings: Settings, *, make: bool = False) -> MasterKey | None:
    """What personal fields are sealed by: the key of the file that is set, else of the data folder, where one is made if it is to be. That
    only where one process owns the ledger. None: nothing is sealed, and nothing that is sealed can be read."""
    from ledger.personal import MasterKey

    if settings.personal_key_file is not None:
        return MasterKey.of(settings.personal_key_file)
    path = settings.data_dir / PERSONAL_KEY_FILE
    shared = settings.bus_url != "none:" and settings.ledger_url != "sqlite:"
    return None if shared or not (make or path.exists()) else MasterKey.of(path, make=make)


def ledger_place(settings: Settings) -> tuple[str, PostgresAccess | None]:
    """Where the ledger is and how it is reached, for a look into it. Raises NotFound where there is none."""
    if settings.ledger_url == "sqlite:":
        path = settings.data_dir / LEDGER_FILE
        if not path.exists():
            raise NotFound(
                f"{settings.data_dir} has no ledger", hint="`ringwatch ingest` makes one, `ringwatch demo` too"
            )
        return f"sqlite:///{path}", None
    from ringwatch.access import postgres_access
    from ringwatch.secret_files import without_secret

    return without_secret("ledger_url", settings.ledger_url), postgres_access(settings)


def open_queries(settings: Settings, schema: FeatureSchema) -> LedgerQueries:
    """The ledger for people's reads, on connections of its own; beside whoever writes it."""
    from ledger.queries import LedgerQueries

    url, access = ledger_place(settings)
    return LedgerQueries(url, schema, access, personal_key(settings))


def open_assessor(settings: Settings, schema: FeatureSchema, *, serves: bool = False, whole: bool = True) -> Assessor:
    """`serves`: learned models that were promoted score, too. `whole`: they hear the whole stream, which graph networks need."""
    from scorers.alert_levels import AlertLevels
    from scorers.learned.book import ModelBook
    from scorers.lists import Lists, load_lists
    from scorers.policy import load_policy
    from scorers.policy_history import PolicyHistory
    from scorers.registry import build_scorers
    from scorers.settings import load_overrides

    fixed, policy, rules = load_lists(settings.lists), load_policy(settings.policy), open_rules(settings, schema)
    scorers = build_scorers(overrides=load_overrides(settings.detectors), lists=Lists(fixed), rules=rules)
    fixed.check_kinds([kind.name for kind in schema.kinds])
    policy.check_scorers([scorer.name for scorer in scorers])
    PolicyHistory(settings.data_dir).keep(policy)
    levels = AlertLevels(policy, int(settings.alert_window_h * HOUR_US), int(settings.ring_alert_window_days * DAY_US))
    names = [s.name for s in scorers]
    models = ModelBook(open_shelf(settings), schema, names, networks=whole) if serves else None
    return Assessor(scorers, policy, schema, levels, models)


def open_shelf(settings: Settings) -> Shelf:
    """The folder of learned models."""
    from scorers.learned.shelf import Shelf

    return Shelf(settings.models_dir or settings.data_dir / "models")


def open_desk(settings: Settings, *, shared: bool = False) -> Desk:
    """What people did and decide: beside the ledger, in a file of its own where that is SQLite. `shared`: several processes use it, so the
    audit key is the one that is set or none; it is not prepared."""
    import time

    from desk.chain import Key
    from desk.store import Desk

    if settings.ledger_url == "sqlite:":
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        url, access = f"sqlite:///{settings.data_dir / DESK_FILE}", None
    else:
        url, access = ledger_place(settings)
    given = settings.audit_key_file
    if shared:
        return Desk(url, None if given is None else Key.of(given), lambda: time.time_ns() // 1000, access)
    key = Key.of(given or settings.data_dir / AUDIT_KEY_FILE, make=given is None)
    desk = Desk(url, key, lambda: time.time_ns() // 1000, access)
    desk.prepare()
    return desk


def open_past(settings: Settings, schema: FeatureSchema) -> Past:
    """Assesses stored decisions again, by this configuration and what is kept of earlier ones."""
    from explain.others import warm
    from explain.past import Past
    from scorers.policy import load_policy
    from scorers.policy_history import PolicyHistory
    from scorers.registry import build_scorers
    from scorers.rules.history import RuleHistory
    from scorers.rules.load import parse_rules, rules_text
    from scorers.settings import load_overrides

    overrides, history = load_overrides(settings.detectors), RuleHistory(settings.data_dir, schema)

    def rules_of(version: str) -> RuleSet | None:
        if settings.rules is not None:
            now = parse_rules(rules_text(settings.rules), str(settings.rules), schema)
            if now.version == version:
                return now
        return history.rules(version)

    policy, shelf = load_policy(settings.policy), open_shelf(settings)
    warm()
    policies = PolicyHistory(settings.data_dir)
    return Past(schema, lambda: build_scorers(overrides=overrides), policy, shelf, rules_of, policies.policy)


def open_stream(settings: Settings, schema: FeatureSchema, *, serves: bool = False) -> ScoringStream:
    """State, rings and scorers, empty; `serves` as of `open_assessor`."""
    from ingest.stream import ScoringStream
    from rings.keeper import RingKeeper

    assessor = open_assessor(settings, schema, serves=serves)
    return ScoringStream(open_state(settings, schema), assessor, RingKeeper(schema))


def open_rules(settings: Settings, schema: FeatureSchema) -> RuleBook:
    """The rules of the file that is set, else the ones published in the data folder, else none."""
    from scorers.rules.book import RuleBook
    from scorers.rules.history import RuleHistory

    if settings.rules is not None:
        return RuleBook.open(settings.rules, schema=schema)
    return RuleBook.open(RuleHistory(settings.data_dir).active_path, schema=schema, optional=True)


def open_decoder(settings: Settings, kinds: Sequence[Kind], tenant: str) -> EventDecoder:
    """What reads the native events of a tenant."""
    from ingest.currency import RateTable
    from ingest.events import EventDecoder, EventRules

    rules = EventRules(
        tenant=tenant,
        currency=settings.currency,
        naive_times=settings.naive_times,
        token_kinds=_token_kinds(settings, kinds),
        token_key=settings.token_key.get_secret_value().encode() if settings.token_key else None,
        kinds=tuple(kinds),
    )
    return EventDecoder(rules, RateTable.load(settings.fx_rates, settings.currency))


def _token_kinds(settings: Settings, kinds: Sequence[Kind]) -> frozenset[str] | None:
    """None: all. Raises BadInput for a kind that there is not, and for kinds without a key."""
    named = frozenset(name.strip() for name in settings.token_kinds.split(",") if name.strip())
    unknown = sorted(named - {kind.name for kind in kinds})
    if unknown:
        known = f"there are {', '.join(kind.name for kind in kinds)}"
        raise BadInput(f"RINGWATCH_TOKEN_KINDS has {unknown[0]!r}", hint=known)
    if named and settings.token_key is None:
        raise BadInput("RINGWATCH_TOKEN_KINDS is set without RINGWATCH_TOKEN_KEY", hint="set both or none")
    return named or None


def open_source(settings: Settings, paths: Sequence[str], mapping: Mapping | None, kinds: Sequence[Kind]) -> FileSource:
    from ingest.card_numbers import holds_card_number
    from ingest.file_source import Reading
    from ingest.file_source import open_source as open_files

    if holds_card_number(settings.tenant):
        raise BadInput("RINGWATCH_TENANT is a card number", hint="give the tenant a name")
    decoder = open_decoder(settings, kinds, settings.tenant)
    jump_us = int(settings.future_jump_days * 24 * HOUR_US)
    reading = Reading(mapping, decoder, settings.max_record_bytes, settings.batch_events, jump_us)
    return open_files(paths, reading)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything of one data folder, open."""

    settings: Settings
    folder: DataFolder
    kinds: tuple[Kind, ...]
    pipeline: Pipeline
    graph: GraphStore | None
    desk: Desk
    lists: ListsWatch
    queries: LedgerQueries

    def source(self, paths: Sequence[str], mapping: Mapping | None = None) -> FileSource:
        return open_source(self.settings, paths, mapping, self.kinds)

    def close(self) -> None:
        """Snapshot, then close every store and give the folder back. Raises what stopped a store."""
        with ExitStack() as closing:
            closing.callback(self.folder.close)
            if self.graph is not None:
                closing.callback(self.graph.close)
            closing.callback(self.desk.close)
            closing.callback(self.queries.close)
            closing.callback(self.lists.stop)
            closing.callback(self.pipeline.outlets.dead_letters.close)
            self.pipeline.close()


def open_service(settings: Settings, mapping: Mapping | None = None) -> Service:
    """Open the data folder and bring memory to where the ledger is. Raises what any store raises; nothing stays open then."""
    from desk.places import users_of
    from desk.watch import ListsWatch
    from graph.writer import GraphWriter
    from ingest.dead_letter import DeadLetterFile
    from ingest.folder import DataFolder
    from ingest.outlets import Outlets
    from ingest.pipeline import Pipeline
    from ingest.redelivery import SeenEvents
    from ingest.snapshot import Snapshots
    from ledger.alerting import AlertGrouper

    with ExitStack() as opened:
        folder = DataFolder(settings.data_dir)
        opened.callback(folder.close)
        kinds = folder_kinds(folder, mapping)
        schema = FeatureSchema(kinds)
        stream = open_stream(settings, schema, serves=True)
        ledger = open_ledger(settings, folder, schema)
        opened.callback(ledger.close)
        stream.assessor.book.past = ledger
        graph, writer = open_graph(settings, folder, kinds), None
        if graph is not None:
            opened.callback(graph.close)
            writer = GraphWriter(graph, settings.graph_batch_links)
            opened.callback(writer.close)
        dead_letters = DeadLetterFile(folder.dead_letters, counted=ledger.refusals())
        opened.callback(dead_letters.close)
        outlets = Outlets(ledger, writer, dead_letters)
        opened.callback(outlets.close)
        pipeline = Pipeline(
            stream,
            outlets,
            AlertGrouper(int(settings.alert_window_h * HOUR_US), int(settings.ring_alert_window_days * DAY_US)),
            seen=SeenEvents(settings.dedupe_events),
            snapshots=Snapshots(folder.snapshots),
            snapshot_interval_s=settings.snapshot_interval_s,
        )
        pipeline.recover()
        desk = open_desk(settings)
        opened.callback(desk.close)
        assert stream.assessor.lists is not None
        queries = open_queries(settings, schema)
        opened.callback(queries.close)
        lists = ListsWatch(desk, stream.assessor.lists, users_of=users_of(queries, kinds))
        lists.start()
        opened.pop_all()
        return Service(settings, folder, kinds, pipeline, graph, desk, lists, queries)


def folder_kinds(folder: DataFolder, mapping: Mapping | None) -> tuple[Kind, ...]:
    """The folder's entity kinds: fixed by its first ingest, since they shape the feature vector."""
    marker = folder.marker()
    stored = cast("list[list[object]] | None", marker.get("kinds"))
    wanted = mapping.kinds if mapping is not None else None
    if stored is None:
        kinds = wanted or BUILTIN_KINDS
        folder.write_marker({**marker, "kinds": [[k.name, int(k.strength), k.crowded] for k in kinds]})
        return kinds
    kinds = tuple(Kind(str(n), Strength(cast(int, s)), bool(c)) for n, s, c in stored)
    for kind in wanted or ():
        if kind not in kinds:
            raise Conflict(
                f"the mapping declares the kind {kind.name!r}, which {folder.path} was not made with",
                hint="ingest it into another folder with --data-dir, or `ringwatch reset` this one",
            )
    return kinds


def stored_kinds(path: Path) -> tuple[Kind, ...] | None:
    """The entity kinds of a data folder that another process may hold; None when it has none yet."""
    import json

    from ingest.folder import MARKER

    try:
        stored = json.loads((path / MARKER).read_text()).get("kinds")
    except FileNotFoundError:
        return None
    except ValueError:
        raise Corrupt(f"{path / MARKER} is not JSON", hint="restore it or reset the folder") from None
    return None if stored is None else tuple(Kind(str(n), Strength(s), bool(c)) for n, s, c in stored)


def free_of(path: Path) -> int:
    """Bytes free where `path` is or would be."""
    import shutil

    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
