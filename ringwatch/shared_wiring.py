"""Choice of backend where several processes share the work: settings in, connected parts and roles out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bus.clients import BusSettings
from bus.topics import Topics
from features.schema import FeatureSchema
from ringwatch.access import open_bus, open_neo4j, open_shared_state, postgres_access
from ringwatch.errors import BadInput
from ringwatch.model import DAY_US, HOUR_US, Event, Kind, Label
from ringwatch.secret_files import without_secret
from ringwatch.settings import Settings
from ringwatch.wiring import folder_kinds, open_assessor, open_decoder, open_desk, open_queries, personal_key

if TYPE_CHECKING:
    from desk.store import Desk
    from desk.watch import ListsWatch
    from features.redis_state import RedisState
    from graph.neo4j_store import Neo4jGraph
    from ingest.folder import DataFolder
    from ingest.keeper import Keeper
    from ingest.shared_scoring import SharedScoring
    from ingest.stream import ScoringStream
    from ledger.sql_store import SqlLedger
    from rings.published import Told
    from roles.http_scoring import HttpScoring, Sweeper
    from roles.logs import DecisionsLog
    from roles.rebuild import Replayed
    from roles.ring_shelf import RingShelf
    from roles.role import Role

ROLES = ("api", "scorer", "ring-keeper", "ledger-writer", "graph-writer")
STATE_SNAPSHOT = "state"


def ledger_of(settings: Settings, folder: DataFolder | None, schema: FeatureSchema) -> SqlLedger:
    """Not prepared. SQLite only where there is a folder."""
    from ledger.sql_store import SqlLedger

    if settings.ledger_url == "sqlite:":
        if folder is None:
            raise BadInput(
                "RINGWATCH_LEDGER_URL is 'sqlite:'",
                hint="processes with roles of their own share the ledger: postgresql://user@host:port/name",
            )
        return SqlLedger(f"sqlite:///{folder.ledger}", schema, master=personal_key(settings, make=True))
    url = without_secret("ledger_url", settings.ledger_url)
    return SqlLedger(url, schema, postgres_access(settings), personal_key(settings))


@dataclass(slots=True)
class Shared:
    """Everything a process of some roles has open."""

    settings: Settings
    kinds: tuple[Kind, ...]
    schema: FeatureSchema
    bus: BusSettings
    topics: Topics
    state: RedisState
    ledger: SqlLedger
    graph: Neo4jGraph | None
    log: DecisionsLog
    scoring: SharedScoring | None = None
    keeper: Keeper | None = None
    http: HttpScoring | None = None
    sweeper: Sweeper | None = None
    desk: Desk | None = None
    lists: ListsWatch | None = None
    roles: list[Role] = field(default_factory=list)
    closing: ExitStack = field(default_factory=ExitStack)


def open_shared(settings: Settings, names: Sequence[str], tenants: Callable[[], Iterable[str]] = tuple) -> Shared:
    """The parts and roles of a process. A process that scores and keeps the rings is the only one that scores: its rings are
    kept in step with the events. Raises BadInput for settings that do not go together; servers that are away are waited for later."""
    from ingest.folder import DataFolder

    unknown = [name for name in names if name not in ROLES]
    if unknown:
        raise BadInput(f"there is no role {unknown[0]!r}", hint=f"one or more of {', '.join(ROLES)}, with commas")
    if {"api", "ring-keeper"} <= set(names) and "scorer" not in names:
        raise BadInput(
            "the roles api and ring-keeper are in one process without scorer",
            hint="a process that scores and keeps the rings is the only scorer: add scorer, or take them apart",
        )
    with ExitStack() as opened:
        whole = set(names) == set(ROLES)
        folder = DataFolder(settings.data_dir) if whole or "ring-keeper" in names else None
        if folder is not None:
            opened.callback(folder.close)
        kinds = folder_kinds(folder, None) if folder is not None else kinds_of(settings.data_dir)
        schema = FeatureSchema(kinds)
        bus, topics = open_bus(settings), Topics(settings.topic_prefix)
        graph = open_neo4j(settings)
        if graph is not None:
            opened.callback(graph.close)
        state = open_shared_state(settings, schema, graph)
        opened.callback(state.close)
        ledger = ledger_of(settings, folder if whole else None, schema)
        opened.callback(ledger.close)
        from roles.logs import DecisionsLog

        here = Shared(settings, kinds, schema, bus, topics, state, ledger, graph, DecisionsLog(bus, topics.decisions))
        _add_roles(here, names, tenants)
        decides = here.scoring or here.keeper
        if decides is not None:
            _add_desk(here, decides.stream, opened)
        here.closing = opened.pop_all()
        return here


def _add_desk(here: Shared, stream: ScoringStream, opened: ExitStack) -> None:
    """What investigators decide, for those who score or keep rings."""
    from desk.places import users_of
    from desk.watch import ListsWatch

    lists = stream.assessor.lists
    assert lists is not None
    here.desk = open_desk(here.settings, shared=True)
    opened.callback(here.desk.close)
    queries = open_queries(here.settings, here.schema)
    opened.callback(queries.close)
    here.lists = ListsWatch(here.desk, lists, users_of=users_of(queries, here.kinds))
    here.lists.start(wait=False)
    opened.callback(here.lists.stop)


def ring_shelf(settings: Settings) -> RingShelf:
    """The rings of the ledger that processes share; of this tenant where none is named."""
    from roles.ring_shelf import RingShelf

    return RingShelf(ledger_of(settings, None, FeatureSchema(kinds_of(settings.data_dir))), settings.tenant)


def kinds_of(data_dir: Path) -> tuple[Kind, ...]:
    """Those of a data folder, else the built-in ones."""
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.wiring import stored_kinds

    return stored_kinds(data_dir) or BUILTIN_KINDS


def _add_roles(here: Shared, names: Sequence[str], tenants: Callable[[], Iterable[str]]) -> None:
    from roles.graph_writer import GraphWriterRole
    from roles.ledger_writer import LedgerWriter
    from roles.state_keeper import StateKeeper
    from roles.store_watch import StoreWatch

    settings, instance = here.settings, here.settings.instance
    watch = StoreWatch(_probes(here, names))
    here.roles.append(watch)
    scores = bool({"scorer", "api"} & set(names))
    if "ring-keeper" in names:
        here.keeper = _keeper(here, scores=scores)
    if scores:
        here.scoring = _scoring(here, here.keeper)
    if scores or here.keeper is not None:
        here.roles.append(
            StateKeeper(
                here.state, here.log, lambda: replayed_of(settings, here.schema), owner=f"{'-'.join(names)}.{instance}"
            )
        )
    if "scorer" in names:
        here.roles += _scorers(here)
    if here.keeper is not None and "scorer" not in names:
        from roles.ring_keeper import RingKeeperRole

        here.roles.append(RingKeeperRole(here.keeper, here.state, here.bus, here.topics))
    if "ledger-writer" in names:
        here.roles.append(LedgerWriter(here.ledger, here.schema, here.bus, here.topics))
    if "graph-writer" in names and here.graph is not None:
        here.roles.append(GraphWriterRole(here.graph, here.kinds, here.bus, here.topics))
    if "api" in names:
        _add_http(here, tenants)
    # A rebuild of the state takes minutes, and its keeper says so itself.
    watch.others = [role for role in here.roles if not isinstance(role, StateKeeper)]


def _probes(here: Shared, names: Sequence[str]) -> dict[str, Callable[[], object]]:
    """Of the stores that these roles need; the state is looked at by its own keeper."""
    from bus.clients import probe

    probes: dict[str, Callable[[], object]] = {"Kafka": probe(here.bus)}
    if {"api", "ledger-writer"} & set(names):
        probes["ledger"] = lambda: here.ledger.progress("")
    if here.graph is not None and {"api", "graph-writer"} & set(names):
        probes["graph"] = here.graph.applied_position
    return probes


def _keeper(here: Shared, *, scores: bool) -> Keeper:
    from ingest.keeper import Keeper
    from ledger.alerting import AlertGrouper
    from rings.keeper import RingKeeper

    settings = here.settings
    grouper = AlertGrouper(int(settings.alert_window_h * HOUR_US), int(settings.ring_alert_window_days * DAY_US))
    folder = settings.data_dir / "keeper"
    folder.mkdir(parents=True, exist_ok=True)
    assessor = open_assessor(settings, here.schema, serves=scores, whole=False)
    return Keeper(assessor, RingKeeper(here.schema), grouper, folder, interval_s=settings.snapshot_interval_s)


def _scoring(here: Shared, keeper: Keeper | None) -> SharedScoring:
    from features.state import NoState
    from ingest.shared_scoring import SharedScoring
    from ingest.stream import ScoringStream
    from rings.elsewhere import RingsElsewhere
    from roles.logs import RingsLog, bring_back
    from roles.models import Models
    from roles.retelling import AlertsLog, Untold

    if keeper is not None:
        scoring = SharedScoring(here.state, keeper.stream, keeper=keeper)
        rings_log, alerts_log = RingsLog(here.bus, here.topics.rings), AlertsLog(here.bus, here.topics.alerts)

        def recover() -> Told:
            untold = Untold(time.time_ns() // 1000)
            bring_back(keeper, here.log, seen=untold.take)
            untold.tell(alerts_log, here.bus, here.topics)
            return rings_log.told()

        scoring.recover = recover
        return scoring
    assessor = open_assessor(here.settings, here.schema, serves=True, whole=False)
    rings = RingsElsewhere(here.schema, here.state.read_rings)
    scoring = SharedScoring(here.state, ScoringStream(NoState(here.schema), assessor, rings, learns=False))
    scoring.refresh = Models(here.state, assessor).refresh
    return scoring


def _scorers(here: Shared) -> list[Role]:
    from roles.scorer import EVENTS, LABELS, ScorerRole, Taking
    from roles.taking import TopicIntake

    settings, scoring = here.settings, here.scoring
    assert scoring is not None
    found: list[Role] = []
    everything = ((EVENTS, Event, event_topics(settings)), (LABELS, Label, label_topics(settings)))
    for name, wanted, of in everything:
        decoders = {topic: open_decoder(settings, here.kinds, tenant) for topic, tenant in of.items()}
        taking = Taking(
            name, tuple(of), settings.instance, settings.kafka_batch_events, settings.features_share if wanted is Event else 0.0
        )  # fmt: skip
        intake = TopicIntake(decoders, wanted, time.time, labels=", ".join(label_topics(settings)))
        found.append(ScorerRole(taking, scoring, here.bus, here.topics, intake, _resolver(here)))
    return found


def event_topics(settings: Settings) -> dict[str, str]:
    """topic -> the tenant whose events are on it. Raises BadInput."""
    usual = Topics(settings.topic_prefix).events
    return _tenants("RINGWATCH_EVENT_TOPICS", settings.event_topics, settings) or {usual: settings.tenant}


def label_topics(settings: Settings) -> dict[str, str]:
    """As `event_topics`, of labels: other topics."""
    usual = Topics(settings.topic_prefix).labels
    found = _tenants("RINGWATCH_LABEL_TOPICS", settings.label_topics, settings) or {usual: settings.tenant}
    both = sorted(found.keys() & event_topics(settings).keys())
    if both:
        raise BadInput(f"topic {both[0]!r} is named for events and for labels", hint="labels have topics of their own")
    return found


def _tenants(name: str, given: str, settings: Settings) -> dict[str, str]:
    from roles.http_scoring import HTTP

    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in given.split(","))):
        topic, _, tenant = part.partition("=")
        if not topic or topic in found:
            raise BadInput(f"{name} has {part!r}", hint="TOPIC or TOPIC=TENANT, with commas, each topic once")
        if topic == HTTP:
            raise BadInput(f"{name} has {part!r}", hint=f"{HTTP} is where what comes over HTTP is said to come from")
        found[topic] = tenant or settings.tenant
    return found


def _resolver(here: Shared) -> Callable[[Sequence[Label]], Sequence[Mapping[str, str] | None]]:
    def resolve(labels: Sequence[Label]) -> list[Mapping[str, str] | None]:
        named: dict[str, list[str]] = {}
        for label in labels:
            if label.target_kind == "event":
                named.setdefault(label.tenant, []).append(label.target_id)
        known = {(t, i): e for t, ids in named.items() for i, e in here.ledger.events_entities(t, ids).items()}
        return [
            known.get((x.tenant, x.target_id)) if x.target_kind == "event" else {x.target_kind: x.target_id}
            for x in labels
        ]

    return resolve


def _add_http(here: Shared, tenants: Callable[[], Iterable[str]]) -> None:
    from bus.clients import producer
    from roles.emitter import Emitter
    from roles.http_scoring import HttpScoring, Sweeper
    from roles.ring_shelf import LockedRings, RingShelf

    assert here.scoring is not None
    settings = here.settings
    emitter = Emitter(lambda: producer(here.bus), here.topics.decisions)
    here.http = HttpScoring(
        here.scoring, emitter, here.ledger, here.topics,
        instance=settings.instance, features_share=settings.features_share,
        rings=LockedRings(here.keeper.rings, here.scoring.lock) if here.keeper is not None else RingShelf(here.ledger),
    )  # fmt: skip
    here.sweeper = Sweeper(
        here.http, lambda: sorted({*tenants(), settings.tenant, *here.state.tenants()}), here.log.present
    )


def replayed_of(settings: Settings, schema: FeatureSchema) -> Replayed:
    from roles.rebuild import Replayed

    late_us = int(settings.late_full_h * HOUR_US)
    folder = settings.data_dir / STATE_SNAPSHOT
    return Replayed(folder, schema, max_entities=settings.max_entities, late_full_us=late_us)
