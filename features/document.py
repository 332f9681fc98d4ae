"""The feature table as Markdown: `python -m features.document > docs/features.md`."""

from __future__ import annotations

import sys

from features.schema import EVENT_BLOCK, SLOT_BLOCK, Feature, FeatureSchema
from ringwatch.model import type_names


def markdown() -> str:
    schema = FeatureSchema()
    parts = [
        "# Features",
        "",
        "Generated from `features/schema.py` by `make docs`. All are float32, missing is NaN, and depend on events",
        "only, never on the wall clock.",
        f"With the built-in kinds a vector has {schema.size} of them, schema `{schema.hash}`.",
        "",
        "## Of every entity of an event: `<kind>.<name>`",
        "",
        *_table(SLOT_BLOCK),
        "",
        "## Of the event's user, by linked kind: `user.<kind>_links_24h`, `user.<kind>_links_all`",
        "",
        "Distinct linked entities of a kind, active in 24 h or ever (exact below 16 links in all, then a sketch).",
        "",
        "## Of the event's user, by event type: `user.since_<type>_s`",
        "",
        f"Seconds since the user's last {', '.join(type_names)}, before this event.",
        "",
        "## Of the event: `event.<name>`",
        "",
        *_table(EVENT_BLOCK),
        "",
        "## What depends on the order in which several scorers commit",
        "",
        "Events of a user share a partition and stay in order; users meet at devices, cards and the like, and the scorer that is second",
        "there sees what the first wrote. So all features may differ from a run with one scorer but these",
        f"{schema.size - len(schema.order_dependent)} (`FeatureSchema.order_dependent` has the others):",
        "",
        *(f"- `{name}`" for name in schema.names if name not in schema.order_dependent),
    ]
    return "\n".join(parts) + "\n"


def _table(features: tuple[Feature, ...]) -> list[str]:
    rows = ["| name | definition | unit | window | exactness | link-decomposable |", "|---|---|---|---|---|---|"]
    for f in features:
        rows.append(
            f"| {f.name} | {f.definition} | {f.unit} | {f.window} | {f.exact} | {'yes' if f.decomposable else ''} |"
        )
    return rows


if __name__ == "__main__":
    sys.stdout.write(markdown())
