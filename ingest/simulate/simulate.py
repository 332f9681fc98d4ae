"""The simulator: one marketplace, day by day, with campaigns and innocents woven in. Same configuration, same bytes.

Memory is bounded by the population and one day, plus the campaigns (about one event in a hundred).
"""

from __future__ import annotations

import csv
import heapq
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

import ingest.simulate.campaigns
from ingest.simulate.habits import day_of, shelves
from ingest.simulate.innocent import HAPPENINGS, settle
from ingest.simulate.script import Form, Script
from ingest.simulate.world import CATEGORIES, DAY_S, Group, SimulatedEvent, Sku, Tokens, World

_EVENTS_PER_PERSON_DAY = 1.58
"""Measured: events a customer causes a day, averaged over customers."""
_CAMPAIGN_EVENTS = 36.0
"""Measured: fraudulent events a campaign has on average."""
_LABEL_DELAY_DAYS = {
    "account_takeover": (0.2, 3.0), "session_hijack": (0.2, 4.0), "velocity": (1.0, 10.0), "card_testing": (1.0, 15.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    events: int = 60_000
    """About how many events; what is written ends where the days end."""
    seed: int = 7
    days: int = 30
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """Midnight of the first day."""
    fraud_share: float = 0.01
    reported_share: float = 0.7
    """Share of fraudulent events that are ever reported."""
    wrong_share: float = 0.01
    """Share of labels that say the opposite of the truth."""
    good_share: float = 0.03
    """Share of honest payments that are confirmed good."""


@dataclass(slots=True)
class SimulationSummary:
    events: int = 0
    labels: int = 0
    users: int = 0
    fraud_events: int = 0
    campaigns: int = 0
    innocent_groups: int = 0
    patterns: dict[str, int] = field(default_factory=dict)
    """Campaigns of each pattern."""


def patterns() -> dict[str, dict[str, Form]]:
    """pattern -> form -> script, from the files in `campaigns/`, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(ingest.simulate.campaigns.__path__))
    return {name: importlib.import_module(f"ingest.simulate.campaigns.{name}").FORMS for name in names}


class Simulation:
    """A marketplace ready to run once. `groups` is complete from the start."""

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        rng = np.random.Generator(np.random.PCG64(config.seed))
        self.world = World(rng, Tokens(config.seed), config.days)
        count = max(10, round(config.events * config.fraud_share / _CAMPAIGN_EVENTS))
        self._populate(count)
        self.groups = settle(self.world, count)
        self._planned: list[list[SimulatedEvent]] = [[] for _ in range(config.days + 1)]
        self._happen(count)
        self._campaigns(count)

    def _populate(self, campaigns: int) -> None:
        world, config = self.world, self.config
        for i in range(60):
            level = float(np.exp(world.rng.normal(0.0, 0.35)))
            world.merchants.append((world.tokens.new(), CATEGORIES[i % len(CATEGORIES)], level))
        for i in range(200):
            price = round(float(np.exp(world.rng.normal(3.4, 0.7))), 2)
            sku = Sku(world.tokens.new(), i % len(world.merchants), price, int(world.rng.integers(20, 200)))
            world.skus.append(sku)
            world.shelves.setdefault(sku.merchant, []).append(sku)
        world.promos = [world.tokens.new() for _ in range(6)]
        world.carrier_ips = [world.tokens.new() for _ in range(max(3, campaigns))]
        world.vpn_ips = [world.tokens.new() for _ in range(12)]
        people = max(50, round(config.events / config.days / _EVENTS_PER_PERSON_DAY))
        for _ in range(people):
            new = world.rng.random() < 0.35
            joined_s = float(world.rng.uniform(0, config.days)) * DAY_S if new else -DAY_S
            world.people.append(world.person(joined_s))

    def _happen(self, count: int) -> None:
        for kind, happening in HAPPENINGS.items():
            for i in range(count):
                at_s = float(self.world.rng.uniform(0.5, self.config.days - 0.6)) * DAY_S
                events, people, shared = happening(self.world, at_s)
                self._plan(events)
                members = sorted({p.user for p in people})
                self.groups.append(Group(f"innocent-{kind}-{i}", kind, "", members, shared, innocent=True))

    def _campaigns(self, count: int) -> None:
        every = [(p, f, form) for p, forms in patterns().items() for f, form in forms.items()]
        order = sorted(every, key=lambda e: (list(patterns()[e[0]]).index(e[1]), e[0]))
        for i in range(count):
            pattern, name, form = order[i % len(order)]
            latest = max(0.6, self.config.days - 10.0)
            start_s = float(self.world.rng.uniform(min(3.0, latest * 0.3), latest)) * DAY_S
            script = Script(self.world, start_s, int(self.world.rng.integers(4, 11)))
            form(script)
            campaign = f"{pattern}-{name}-{i}"
            for event in script.events:
                if event.fraud:
                    event.pattern, event.form, event.campaign = pattern, name, campaign
            times = [e.at_s for e in script.events if e.fraud]
            group = Group(campaign, pattern, name, sorted(set(script.members)), script.shared, innocent=False)
            group.first_s, group.last_s = min(times), max(times)
            self.groups.append(group)
            self._plan(script.events)

    def _plan(self, events: list[SimulatedEvent]) -> None:
        for event in events:
            day = int(event.at_s // DAY_S)
            if 0 <= day < self.config.days:
                self._planned[day].append(event)

    def run(self) -> Iterator[SimulatedEvent]:
        """Events in order of time. An event that belongs to a later day (a refund) waits for it."""
        later: list[tuple[float, int, SimulatedEvent]] = []
        serial = 0
        for day in range(self.config.days):
            today = self._planned[day]
            self._planned[day] = []
            today += shelves(self.world, day)
            for person in self.world.people:
                today += day_of(self.world, person, day)
            end_s = (day + 1) * DAY_S
            for event in today:
                heapq.heappush(later, (event.at_s, serial, event))
                serial += 1
            while later and later[0][0] < end_s:
                yield heapq.heappop(later)[2]


def simulate(config: SimulationConfig) -> Iterator[SimulatedEvent]:
    """Events with their truth, in order of time."""
    return Simulation(config).run()


def _iso(start: datetime, at_s: float) -> str:
    at = start + timedelta(microseconds=round(at_s * 1e6))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _label(config: SimulationConfig, rng: np.random.Generator, event: SimulatedEvent) -> tuple[float, str] | None:
    """(time known, label) if the event is ever labelled: chargebacks in weeks, takeovers reported in days."""
    kind = event.fields["type"]
    if event.fraud:
        if (
            kind not in ("payment", "order", "refund", "promo_redeem", "cart_hold")
            or rng.random() > config.reported_share
        ):
            return None
        low, high = _LABEL_DELAY_DAYS.get(event.pattern, (4.0, 25.0))
        verdict = "fraud"
    elif kind == "payment" and rng.random() < config.good_share:
        (low, high), verdict = (1.0, 20.0), "good"
    else:
        return None
    if rng.random() < config.wrong_share:
        verdict = "good" if verdict == "fraud" else "fraud"
    return event.at_s + float(rng.uniform(low, high)) * DAY_S, verdict


def write_simulation(
    config: SimulationConfig, out_dir: Path, progress: Callable[[int, int], None] | None = None
) -> SimulationSummary:
    """Write events.jsonl (native format, labels when they become known), truth_events.csv and truth_rings.jsonl."""
    out_dir.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(config)
    rng = np.random.Generator(np.random.PCG64([config.seed, 1]))
    summary = SimulationSummary()
    waiting: list[tuple[float, str, str]] = []
    users: set[str] = set()
    partial = out_dir / "events.jsonl.part"
    with partial.open("w") as events, (out_dir / "truth_events.csv").open("w", newline="") as truth:
        rows = csv.writer(truth)
        rows.writerow(["event_id", "fraud", "pattern", "form", "campaign"])
        for event in simulation.run():
            while waiting and waiting[0][0] <= event.at_s:
                events.write(_label_line(config.start, *heapq.heappop(waiting)))
                summary.labels += 1
            event_id = event.fields["event_id"]
            events.write(
                json.dumps({**event.fields, "at": _iso(config.start, event.at_s)}, separators=(",", ":")) + "\n"
            )
            rows.writerow([event_id, int(event.fraud), event.pattern, event.form, event.campaign])
            label = _label(config, rng, event)
            if label is not None:
                heapq.heappush(waiting, (label[0], event_id, label[1]))
            summary.events += 1
            summary.fraud_events += event.fraud
            if "user" in event.fields:
                users.add(event.fields["user"])
            if progress is not None and summary.events % 2000 == 0:
                progress(summary.events, config.events)
    _write_groups(config.start, simulation.groups, out_dir / "truth_rings.jsonl")
    partial.replace(out_dir / "events.jsonl")
    summary.users = len(users)
    for group in simulation.groups:
        if group.innocent:
            summary.innocent_groups += 1
        else:
            summary.campaigns += 1
            summary.patterns[group.kind] = summary.patterns.get(group.kind, 0) + 1
    return summary


def _label_line(start: datetime, known_s: float, event_id: str, verdict: str) -> str:
    row = {"type": "label", "label_of": {"event": event_id}, "label": verdict, "known_at": _iso(start, known_s)}
    return json.dumps(row, separators=(",", ":")) + "\n"


def _write_groups(start: datetime, groups: list[Group], path: Path) -> None:
    with path.open("w") as file:
        for group in groups:
            row = asdict(group)
            for key in ("first_s", "last_s"):
                value = row.pop(key)
                row[key.replace("_s", "_at")] = None if group.innocent else _iso(start, value)
            file.write(json.dumps(row) + "\n")
