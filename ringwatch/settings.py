"""Every setting there is. Read once, at the top (`cli.py`, `wiring.py`), and passed down as values."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

OF_TESTS = ("RINGWATCH_TEST_", "RINGWATCH_REQUIRE_BACKENDS")
"""Variables of the tests, which are no settings."""


class Settings(BaseSettings):
    """Effective settings: `RINGWATCH_<NAME>` in the environment, else the default. All defaults work embedded."""

    model_config = SettingsConfigDict(env_prefix="RINGWATCH_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("ringwatch-data"),
        description="Folder that holds state, graph, ledger and dead letters; one process owns it.",
    )
    tenant: str = Field(
        "default", pattern=r"^[\w.:@-]{1,128}$", description="Tenant that file and standard-input events belong to."
    )
    token_key: SecretStr | None = Field(
        None,
        min_length=8,
        description="Key that turns identifiers into per-tenant keyed hashes at the door; unset keeps them as they are.",
    )

    token_kinds: str = Field(
        "",
        description="Kinds (with commas) whose identifiers become tokens where there is a token key, for example email,phone,ip; unset: all.",
    )

    batch_events: int = Field(
        2000, ge=1, le=100_000, description="Events scored together in an ingest; results do not depend on it."
    )
    max_entities: int = Field(
        2_000_000, ge=1000, description="Entities kept in memory (1 KB each); the least recently used leave first."
    )
    dedupe_events: int = Field(
        4_000_000, ge=1000, description="Most recent event ids remembered to recognise a redelivery."
    )
    snapshot_interval_s: float = Field(
        30.0, gt=0, le=86_400, description="Least time between state snapshots, in seconds."
    )
    graph_batch_links: int = Field(20_000, ge=1, description="Links aggregated before the graph is written.")

    late_full_h: float = Field(
        24.0,
        ge=0,
        le=87_600,
        description="Hours an event may be late and still count in windows; older ones count in lifetime figures and links only.",
    )
    future_jump_days: float = Field(
        366.0, gt=0, le=36_500, description="Days past the newest event time at which a file's event is refused."
    )
    naive_times: str = Field(
        "refuse",
        pattern="^(refuse|utc)$",
        description="What to do with a time without a zone: refuse it, or read it as UTC.",
    )
    max_record_bytes: int = Field(
        1_000_000, ge=1000, description="Longest record read; a longer one becomes a dead letter."
    )

    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="Tenant's currency; amounts are normalised to it.")
    fx_rates: Path | None = Field(
        None,
        description="CSV of dated rates (date,currency,rate: units of the tenant's currency per unit); unset: only the tenant's currency is known.",
    )

    policy: Path | None = Field(
        None, description="YAML policy per tenant (levels, actions, weights); unset: the built-in one."
    )
    lists: Path | None = Field(None, description="YAML of block and allow lists with owner, reason and expiry.")
    detectors: Path | None = Field(None, description="TOML that overrides detector thresholds.")
    rules: Path | None = Field(
        None,
        description="YAML of rules, taken over when it changes; unset: what `ringwatch rules publish` made active.",
    )
    audit_key_file: Path | None = Field(
        None,
        description="File of the key (64 hex digits) that the audit trail is hashed with; unset: `audit.key` in the data folder, made when needed.",
    )
    personal_key_file: Path | None = Field(
        None,
        description="File of the key (64 hex digits) that personal fields are sealed by; unset: `personal.key` in the data folder, with Kafka none.",
    )
    models_dir: Path | None = Field(
        None,
        description="Folder of learned models, which every process that scores must see (a shared volume); unset: `models` in the data folder.",
    )
    alert_window_h: float = Field(
        24.0, gt=0, le=87_600, description="Hours within which events with the same entity and reason grow one alert."
    )
    case_now_h: float = Field(
        4.0, gt=0, le=8_760, description="Hours within which cases with an alert at HIGH or CRITICAL are to be closed."
    )
    case_digest_h: float = Field(
        72.0, gt=0, le=8_760, description="Hours within which the other cases are to be closed."
    )
    ring_alert_window_days: float = Field(
        30.0, gt=0, le=3_650, description="Days of quiet after which a ring's next event founds another alert."
    )

    host: str = Field("127.0.0.1", description="Address the API binds; other than loopback only with keys.")
    port: int = Field(8000, ge=0, le=65_535, description="Port of the API; 0 takes a free one.")
    allowed_hosts: str = Field(
        "", description="Further names (with commas) the API may be called by; on loopback only local ones are taken."
    )
    graphql_introspection: bool = Field(
        True, description="Whether GraphQL tells its schema to whoever has a key, and names what was perhaps meant."
    )
    graphql_deadline_ms: int = Field(
        10_000, ge=10, le=600_000, description="Longest a GraphQL answer may take; then its statements are ended."
    )
    api_queue_events: int = Field(
        10_000, ge=1, le=1_000_000, description="Items that may wait for scoring over HTTP; beyond: 503, try later."
    )
    api_deadline_ms: int = Field(
        2000, ge=10, le=600_000, description="Longest an HTTP request waits for its turn to be scored."
    )

    rate_per_s: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Requests a second that each key or token's subject may make; 0: as many as they like.",
    )
    rate_burst: int = Field(100, ge=1, le=1_000_000, description="Requests that may come at once, of each of them.")
    jwt_issuer: str = Field(
        "",
        description="Issuer (`iss`) whose tokens are taken beside keys; with an audience and where its public keys are.",
    )
    jwt_audience: str = Field("", description="Audience (`aud`) that a token has to be for.")
    jwt_jwks_url: str = Field("", pattern="^(https?://.+)?$", description="Where the issuer publishes its keys (JWKS).")
    jwt_key_file: Path | None = Field(
        None, description="File of the issuer's public keys, PEM or JWKS, instead of a URL; read again when it changes."
    )
    jwt_tenant_claim: str = Field("tenant", min_length=1, description="Claim of a token that names the tenant.")
    jwt_role_claim: str = Field(
        "role", min_length=1, description="Claim of a token that names a role, or a list of them."
    )

    state_url: str = Field(
        "memory:",
        pattern="^(memory:|rediss?://.+)$",
        description="State store; `memory:` is in-process arrays, `redis://host:port/0` is shared (`rediss:` with TLS).",
    )
    graph_url: str = Field(
        "ladybug:",
        pattern=r"^((ladybug|none):|(neo4j|bolt)(\+s|\+ssc)?://.+)$",
        description="Graph store; `ladybug:` is one file in the data folder, `none:` writes no graph, `neo4j://host:port` a server.",
    )
    ledger_url: str = Field(
        "sqlite:",
        pattern="^(sqlite:|postgresql://.+)$",
        description="Ledger; `sqlite:` is one file in the data folder, `postgresql://user@host:port/name` a server.",
    )
    bus_url: str = Field(
        "none:",
        pattern="^(none:|kafka://.+)$",
        description="Where events come from and decisions go; `none:` is files and HTTP only, `kafka://host:port,host:port` a cluster.",
    )

    mlflow_url: str | None = Field(
        None,
        pattern="^(https?|sqlite|postgresql)://.+$",
        description="MLflow server (or database) that trained models are registered at; unset: an SQLite file in the data folder.",
    )

    topic_prefix: str = Field(
        "fraud", pattern=r"^[\w.-]{1,100}$", description="Topics are named PREFIX.events and so on."
    )
    event_topics: str = Field(
        "",
        description="Topics with events, with commas, each TOPIC or TOPIC=TENANT; unset: PREFIX.events, of RINGWATCH_TENANT.",
    )
    label_topics: str = Field(
        "", description="Topics with labels, written as those with events; unset: PREFIX.labels, of RINGWATCH_TENANT."
    )
    instance: str = Field(
        "0",
        pattern=r"^[\w.-]{1,64}$",
        description="Name of this process among those of its role; the same after a restart, so that it takes over from itself.",
    )
    features_share: float = Field(
        0.1,
        ge=0.0,
        le=1.0,
        description="Share of the events, by a hash of their id, whose named features go to PREFIX.features.",
    )
    kafka_batch_events: int = Field(100, ge=1, le=2000, description="Most events scored in one Kafka transaction.")
    dedupe_hours: float = Field(
        24.0, gt=0, le=8760, description="Hours a shared state store remembers event ids, to recognise redeliveries."
    )
    answer_minutes: float = Field(
        15.0, gt=0, le=1440, description="Minutes a shared state store keeps whole answers; later the ledger has them."
    )
    state_ttl_days: float = Field(
        0.0, ge=0, le=3650, description="Days of quiet after which a shared state store forgets an entity; 0: never."
    )
    cold_deadline_ms: float = Field(
        5.0, gt=0, le=1000, description="Longest the graph is asked about an entity that the state store has forgotten."
    )

    kafka_security: str = Field(
        "plaintext", pattern="^(plaintext|ssl|sasl_plaintext|sasl_ssl)$", description="How Kafka is spoken to."
    )
    kafka_sasl_mechanism: str = Field(
        "SCRAM-SHA-512",
        pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$",
        description="SASL mechanism, with a sasl_ security.",
    )
    kafka_username: str = Field("", description="User for SASL; with kafka_password_file.")
    kafka_password_file: Path | None = Field(None, description="File that holds the SASL password.")
    kafka_ca_file: Path | None = Field(None, description="PEM of the authority that signed Kafka's certificate.")
    kafka_cert_file: Path | None = Field(None, description="PEM of our certificate for Kafka; with kafka_key_file.")
    kafka_key_file: Path | None = Field(None, description="PEM of its key.")
    redis_username: str = Field("", description="Redis user; unset: its default one.")
    redis_password_file: Path | None = Field(None, description="File that holds Redis' password.")
    redis_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed Redis' certificate; with rediss:."
    )
    redis_cert_file: Path | None = Field(None, description="PEM of our certificate for Redis; with redis_key_file.")
    redis_key_file: Path | None = Field(None, description="PEM of its key.")
    neo4j_username: str = Field("", description="Neo4j user; with neo4j_password_file.")
    neo4j_password_file: Path | None = Field(None, description="File that holds Neo4j's password.")
    neo4j_database: str = Field("", description="Neo4j database; unset: the server's default.")
    neo4j_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed Neo4j's certificate; with neo4j+s:."
    )
    postgres_password_file: Path | None = Field(None, description="File that holds PostgreSQL's password.")
    postgres_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed PostgreSQL's certificate; turns verified TLS on."
    )
    postgres_cert_file: Path | None = Field(
        None, description="PEM of our certificate for PostgreSQL; with postgres_key_file."
    )
    postgres_key_file: Path | None = Field(None, description="PEM of its key.")


def let_threads_sleep() -> None:
    """For OpenMP libraries that are loaded after it, unless the environment says something else: their threads sleep while they wait for
    each other. By default they spin, which on a busy machine takes many times as long."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def quieten_mlflow() -> None:
    """It tells its makers nothing of how it is used, and prints no addresses between our lines; to be called before it is imported."""
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        os.environ[name] = "true"


def unknown_names() -> list[str]:
    """Variables of the environment that look like settings and are none: a slip would otherwise have no effect."""
    known = {f"RINGWATCH_{name.upper()}" for name in Settings.model_fields}
    given = (name for name in os.environ if name.startswith("RINGWATCH_") and not name.startswith(OF_TESTS))
    return sorted(name for name in given if name not in known)
