"""Explanations of every alert of simulated markets: time, sums, and whether the evidence is what was planted.

python bench/explanations.py [--seeds 521 523] [--events 60000] [--days 30] [--trained-on SEED] [--json PATH]

Each market goes through `ringwatch ingest` into a folder of its own; then every alert's highest scored event is explained from the
ledger, counterfactuals and reading included, and made anew. Told of all alerts: time, largest difference between the score and the
sum of its reasons, replays that are identical. Of alerts in which neighbourhood, ring and network carry more than half of what the
score is above the lowest alert level: in how many the score falls without the first link of the evidence. Of alerts about a planted
ring (the highest scored event names something its campaign shares, and its user is in a ring): in how many the first three links of
the evidence have something the campaign shares, and all of it that the event names (of more than three, three). Of other users on the
event's entities: bytes of the links kept with an alert; in how many alerts one carries something and whether it is named; in how many
alerts about a planted ring the first one is of the campaign.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from about import machine
from rich.console import Console
from rich.progress import track

from api.reads import PEERS, names_by
from explain.changes import WithoutUser
from explain.explanation import explain
from explain.replay import replay
from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ledger.queries import AlertFilter, LedgerQueries
from ringwatch.model import BUILTIN_KINDS, Alert, Assessment
from ringwatch.settings import Settings
from ringwatch.wiring import open_past, open_queries
from scorers.learned.model import NETWORK
from scorers.policy import load_policy

TENANT = "default"
_OF_LINKS = ("neighbourhood", "coordinated_accounts")
_OF_MODEL = ("learned.ring", f"learned.{NETWORK}")
_FIRST = 3


@dataclass(slots=True)
class Found:
    """Of one market."""

    alerts: int = 0
    took_ms: list[float] = field(default_factory=list)
    largest_gap: float = 0.0
    identical: int = 0
    by_links: int = 0
    falls: int = 0
    of_rings: int = 0
    any_in_first: int = 0
    all_in_first: int = 0
    asked_again: int = 0
    of_network: list[float] = field(default_factory=list)
    """Shares of the score that the network carries, of alerts that it has part in."""
    flips: int = 0
    flips_of_others: int = 0
    link_bytes: list[int] = field(default_factory=list)
    with_others: int = 0
    others: int = 0
    unnamed: int = 0
    others_of_rings: int = 0
    first_of_campaign: int = 0
    wrong: list[str] = field(default_factory=list)
    """Alerts that miss one of these, in words."""


class Truth:
    """What each planted campaign shares, and whose events are of one."""

    def __init__(self, market: Path) -> None:
        with (market / "truth_events.csv").open(newline="") as file:
            self.campaign_of = {r["event_id"]: r["campaign"] for r in csv.DictReader(file) if r["fraud"] == "1"}
        self.users_of: dict[str, set[str]] = {}
        with (market / "events.jsonl").open() as file:
            for event in map(json.loads, file):
                if (campaign := self.campaign_of.get(event.get("event_id", ""))) and event.get("user"):
                    self.users_of.setdefault(campaign, set()).add(event["user"])
        with (market / "truth_rings.jsonl").open() as file:
            rows = [json.loads(line) for line in file]
        self._shared = {
            row["group_id"]: {(kind, id_) for kind, ids in row["shared"].items() for id_ in ids}
            for row in rows
            if not row["innocent"]
        }

    def shared(self, event_id: str) -> set[tuple[str, str]]:
        return self._shared.get(self.campaign_of.get(event_id, ""), set())


def train(seed: int, events: int, days: int, folder: Path) -> Path:
    """The folder of models, with one that was trained on another market."""
    market, models = folder / "trained-on", folder / "models"
    write_simulation(SimulationConfig(events=events, seed=seed, days=days), market)
    env = {**os.environ, "RINGWATCH_DATA_DIR": str(folder / "training"), "RINGWATCH_MODELS_DIR": str(models)}
    for words in (["train", str(market / "events.jsonl"), "--json"], ["models", "promote", "1"]):
        subprocess.run([sys.executable, "-m", "ringwatch.cli", *words], check=True, env=env, stdout=subprocess.DEVNULL)
    return models


def measure(seed: int, events: int, days: int, folder: Path, models: Path | None) -> Found:
    market, data = folder / f"market-{seed}", folder / f"data-{seed}"
    write_simulation(SimulationConfig(events=events, seed=seed, days=days), market)
    env = {**os.environ, "RINGWATCH_DATA_DIR": str(data), **({"RINGWATCH_MODELS_DIR": str(models)} if models else {})}
    command = [sys.executable, "-m", "ringwatch.cli", "ingest", str(market / "events.jsonl"), "--json"]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    settings = Settings(data_dir=data, **({"models_dir": models} if models else {}))
    schema = FeatureSchema(BUILTIN_KINDS)
    ledger, past, truth, found = open_queries(settings, schema), open_past(settings, schema), Truth(market), Found()
    least = min(load_policy(settings.policy).of(TENANT).levels.values())
    for alert in track(list(every_alert(ledger)), description=f"seed {seed}", transient=True):
        began = perf_counter()
        then = ledger.stored(TENANT, alert.top_event_id)
        assert then is not None
        told = explain(
            past, then, ledger.calm_before(TENANT, alert.top_event_id, limit=PEERS), names_by(ledger, TENANT)
        )
        found.took_ms.append((perf_counter() - began) * 1e3)
        found.alerts += 1
        found.asked_again += bool(told.network_counts)
        found.of_network += [r.contribution / told.score for r in told.reasons if r.code == _OF_MODEL[1]]
        found.flips += told.flip is not None
        found.flips_of_others += told.flip is not None and any(isinstance(c, WithoutUser) for c in told.flip.changes)
        found.link_bytes.append(len(then.links))
        others = told.others or ()
        found.with_others += bool(others)
        found.others += len(others)
        found.unnamed += sum(o.user.startswith("key:") for o in others)
        found.largest_gap = max(found.largest_gap, abs(told.adds_up_to - told.score))
        found.identical += replay(past, then).identical
        a = then.assessment
        words = f"{seed} {alert.alert_id} {truth.campaign_of.get(a.event_id, 'innocent')} {a.score:.2f} {[r.code for r in a.reasons][:4]}"
        if of_links(a) > (a.score - least) / 2:
            found.by_links += 1
            found.falls += bool(told.evidence) and told.evidence[0].less > 0.0
            if not told.evidence or told.evidence[0].less <= 0.0:
                found.wrong.append(f"does not fall: {words}")
        planted = {x for x in truth.shared(a.event_id) if then.event.entities.get(x[0]) == x[1]}
        if planted and a.ring is not None:
            first = {(e.kind, e.entity) for e in told.evidence[:_FIRST]}
            found.of_rings += 1
            if others and others[0].less > 0.0:
                found.others_of_rings += 1
                found.first_of_campaign += others[0].user in truth.users_of[truth.campaign_of[a.event_id]]
            found.any_in_first += bool(first & planted)
            found.all_in_first += len(first & planted) >= min(_FIRST, len(planted))
            if not first & planted:
                found.wrong.append(f"not in the first {_FIRST}: {words}: {sorted(planted)} {sorted(first)}")
    ledger.close()
    return found


def of_links(a: Assessment) -> float:
    """What neighbourhood, ring and network carry of the score."""
    return sum(
        r.contribution for r in a.reasons
        if r.kind == "ring" or r.code.partition(".")[0] in _OF_LINKS or r.code in _OF_MODEL
    )  # fmt: skip


def every_alert(ledger: LedgerQueries) -> Iterator[Alert]:
    after = None
    while True:
        page, after = ledger.alert_page(TENANT, AlertFilter(), limit=200, after=after)
        yield from page
        if after is None:
            return


def share(n: int, of: int) -> str:
    return f"{n} of {of} ({n / of:.1%})" if of else "none"


def show(console: Console, seed: str, f: Found) -> None:
    p50, p99, slowest = np.percentile(f.took_ms, [50, 99, 100])
    console.print(
        f"seed {seed}: {f.alerts} alerts explained in {p50:.1f} ms (median), p99 {p99:.1f}, slowest {slowest:.1f}; "
        f"sums differ by {f.largest_gap:.1e} at most; "
        f"replayed the same {share(f.identical, f.alerts)}; some change makes the advice milder in {share(f.flips, f.alerts)}\n"
        f"  mostly of links: score falls without the first in {share(f.falls, f.by_links)}; "
        f"about planted rings: first {_FIRST} links have something shared in "
        f"{share(f.any_in_first, f.of_rings)}, all that can be in {share(f.all_in_first, f.of_rings)}\n"
        f"  other users: links kept {np.median(f.link_bytes):.0f} bytes (median), {max(f.link_bytes)} at most; one carries something in "
        f"{share(f.with_others, f.alerts)}; not named {share(f.unnamed, f.others)}; one is in the flip of {share(f.flips_of_others, f.flips)}; "
        f"about planted rings the first is of the campaign in {share(f.first_of_campaign, f.others_of_rings)}"
    )
    if f.asked_again:
        console.print(
            f"  graph network: asked again in {share(f.asked_again, f.alerts)}; it speaks for fraud in {share(len(f.of_network), f.alerts)}, and "
            f"carries {np.median(f.of_network or [0.0]):.0%} of the score there (median)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[521, 523])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--trained-on", type=int, metavar="SEED", help="of a market that a model is trained on")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--wrong", action="store_true", help="list alerts whose evidence misses something")
    given = parser.parse_args()
    console, runs, about = Console(highlight=False, soft_wrap=True), {}, machine()
    with tempfile.TemporaryDirectory() as scratch:
        models = None
        if given.trained_on is not None:
            models = train(given.trained_on, given.events, given.days, Path(scratch))
        for seed in given.seeds:
            runs[seed] = measure(seed, given.events, given.days, Path(scratch), models)
            show(console, str(seed), runs[seed])
            for line in runs[seed].wrong if given.wrong else ():
                console.print(f"    {line}", markup=False)
    if given.json is not None:
        kept = {
            s: {
                **asdict(f),
                "took_ms": np.percentile(f.took_ms, [50, 90, 99, 100]).tolist(),
                "link_bytes": np.percentile(f.link_bytes, [50, 90, 99, 100]).tolist(),
                "of_network": np.percentile(f.of_network or [0.0], [10, 50, 90]).tolist(),
            }
            for s, f in runs.items()
        }
        given.json.write_text(
            json.dumps(
                {"machine": about, "events": given.events, "trained_on": given.trained_on, "seeds": kept}, indent=1
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
