"""Settings and secret files to connected adapters of servers: how each is reached, and as whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from features.schema import FeatureSchema
from ringwatch.errors import BadInput
from ringwatch.model import HOUR_US
from ringwatch.secret_files import certificate_of, password_of, readable, without_secret
from ringwatch.settings import Settings

if TYPE_CHECKING:
    from bus.clients import BusSettings
    from features.redis_state import RedisState
    from features.redis_wire import Access
    from features.shared_state import ColdEntity
    from graph.neo4j_store import Neo4jGraph
    from ledger.postgres import PostgresAccess


def open_bus(settings: Settings) -> BusSettings:
    """Nothing is asked of the brokers yet. Raises BadInput where none are named, or their settings do not go together."""
    from bus.clients import BusSettings, Mechanism, Protocol

    if settings.bus_url == "none:":
        raise BadInput("RINGWATCH_BUS_URL is 'none:': no Kafka is named", hint="set it to kafka://host:port")
    certificate, key = certificate_of(settings, "kafka")
    return BusSettings.from_url(
        without_secret("bus_url", settings.bus_url),
        protocol=cast(Protocol, settings.kafka_security),
        mechanism=cast(Mechanism, settings.kafka_sasl_mechanism),
        username=settings.kafka_username or None,
        password=password_of(settings, "kafka"),
        ca_file=readable(settings, "kafka_ca_file"),
        cert_file=certificate,
        key_file=key,
    )


def open_shared_state(settings: Settings, schema: FeatureSchema, graph: Neo4jGraph | None = None) -> RedisState:
    from features.redis_state import RedisState

    if not settings.state_url.startswith("redis"):
        raise BadInput(
            f"RINGWATCH_STATE_URL is {settings.state_url!r}",
            hint="with Kafka the state is shared: redis://host:port/0",
        )
    access = redis_access(settings)
    return RedisState(
        access.url,
        schema,
        username=access.username,
        password=access.password,
        ca_file=access.ca_file,
        cert_file=access.cert_file,
        key_file=access.key_file,
        state_ttl_s=int(settings.state_ttl_days * 86_400),
        dedupe_ttl_s=int(settings.dedupe_hours * 3600),
        answer_ttl_s=max(1, int(settings.answer_minutes * 60)),
        late_full_us=int(settings.late_full_h * HOUR_US),
        cold_reader=_cold_reader(graph) if graph is not None else None,
        cold_deadline_s=settings.cold_deadline_ms / 1e3,
    )


def redis_access(settings: Settings) -> Access:
    from features.redis_wire import Access

    certificate, key = certificate_of(settings, "redis")
    return Access(
        without_secret("state_url", settings.state_url),
        username=settings.redis_username or None,
        password=password_of(settings, "redis", username=False),
        ca_file=readable(settings, "redis_ca_file"),
        cert_file=certificate,
        key_file=key,
    )


def _cold_reader(
    graph: Neo4jGraph,
) -> Callable[[str, list[tuple[str, str]], float], Mapping[tuple[str, str], ColdEntity]]:
    from features.shared_state import ColdLink
    from graph.store import EntityRef

    def read(tenant: str, wanted: list[tuple[str, str]], deadline_s: float) -> Mapping[tuple[str, str], ColdEntity]:
        found = graph.cold([EntityRef(tenant, kind, id_) for kind, id_ in wanted], deadline_s=deadline_s)
        return {
            (ref.kind, ref.id): ColdEntity(
                cold.first_seen_us, cold.last_seen_us, cold.events, cold.amount_minor,
                tuple(ColdLink(x.other.kind, x.other.id, x.first_seen_us, x.last_seen_us, x.events) for x in cold.links),
            )
            for ref, cold in found.items()
        }  # fmt: skip

    return read


def open_neo4j(settings: Settings) -> Neo4jGraph | None:
    """None for `none:`. Nothing is asked of the server yet."""
    from graph.neo4j_store import Neo4jGraph

    if settings.graph_url == "none:":
        return None
    if settings.graph_url == "ladybug:":
        raise BadInput(
            "RINGWATCH_GRAPH_URL is 'ladybug:'", hint="with Kafka the graph is shared: neo4j://host:port, or none:"
        )
    password = password_of(settings, "neo4j")
    return Neo4jGraph(
        without_secret("graph_url", settings.graph_url),
        auth=(settings.neo4j_username, password) if password is not None else None,
        database=settings.neo4j_database or None,
        ca_file=readable(settings, "neo4j_ca_file"),
    )


def postgres_access(settings: Settings) -> PostgresAccess:
    from ledger.postgres import PostgresAccess

    certificate, key = certificate_of(settings, "postgres")
    ca = readable(settings, "postgres_ca_file")
    if certificate is not None and ca is None:
        raise BadInput(
            "RINGWATCH_POSTGRES_CERT_FILE is set without RINGWATCH_POSTGRES_CA_FILE",
            hint="the server is to be checked as well: name the authority that signed its certificate",
        )
    return PostgresAccess(
        password=password_of(settings, "postgres", username=False), tls="verify-full" if ca is not None else None,
        ca=ca, certificate=certificate, key=key,
    )  # fmt: skip
