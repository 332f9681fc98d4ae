"""Every setting there is. Read once, at the top (`cli.py`, `wiring.py`), and passed down as values."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    alert_window_h: float = Field(
        24.0, gt=0, le=87_600, description="Hours within which events with the same entity and reason grow one alert."
    )
    ring_alert_window_days: float = Field(
        30.0, gt=0, le=3_650, description="Days of quiet after which a ring's next event founds another alert."
    )

    host: str = Field("127.0.0.1", description="Address the API binds; other than loopback only with keys.")
    port: int = Field(8000, ge=0, le=65_535, description="Port of the API; 0 takes a free one.")
    allowed_hosts: str = Field(
        "", description="Further names (with commas) the API may be called by; on loopback only local ones are taken."
    )
    api_queue_events: int = Field(
        10_000, ge=1, le=1_000_000, description="Items that may wait for scoring over HTTP; beyond: 503, try later."
    )
    api_deadline_ms: int = Field(
        2000, ge=10, le=600_000, description="Longest an HTTP request waits for its turn to be scored."
    )

    state_url: str = Field("memory:", pattern="^memory:$", description="State store; `memory:` is in-process arrays.")
    graph_url: str = Field(
        "ladybug:",
        pattern="^(ladybug|none):$",
        description="Graph store; `ladybug:` is one file in the data folder, `none:` writes no graph.",
    )
    ledger_url: str = Field(
        "sqlite:", pattern="^sqlite:$", description="Ledger; `sqlite:` is one file in the data folder."
    )


def unknown_names() -> list[str]:
    """Variables of the environment that look like settings and are none: a slip would otherwise have no effect."""
    known = {f"RINGWATCH_{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith("RINGWATCH_") and name not in known)
