"""Planted campaigns held against decisions, as an investigator would: was it named in time, and who was accused wrongly?

A campaign is found when, before half of its money is gone, at least half of its accounts stand in alerts that name its
pattern. An account stands in an alert when the alert is about one of its events, about a shared thing it is linked to, or
about its ring. Money is what approved payments and refunds move; a campaign that moves none counts its events. An alert comes
before the money of its own event; an event alerted in that name, and the payment of an order that was, is challenged or
blocked, so its money is not gone; `found_strict` counts it as gone all the same. Innocent accounts are counted by the same rule.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rings.ring import Ring
from ringwatch.model import Event, Level
from scorers.decision import Decisions

_LEAST_RING = 3
_MONEY = frozenset(("payment", "refund"))
_JACCARD = 0.5


@dataclass(slots=True)
class Campaign:
    campaign: str
    pattern: str
    form: str
    accounts: set[str] = field(default_factory=set)
    """Users of its fraudulent events."""
    money: float = 0.0
    events: int = 0
    gone: float = 0.0
    gone_strict: float = 0.0
    gone_events: int = 0
    seen_events: int = 0
    alerted: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    """Orders that were alerted in its pattern's name."""
    found_after: int | None = None
    """Fraudulent events up to and with the one at which it was found."""
    found_strict: bool = False
    late: bool = False
    """Half of the accounts were named, but after half of the money was gone."""
    named: set[str] = field(default_factory=set)
    """Other patterns its events were alerted for."""

    def gone_shares(self) -> tuple[float, float]:
        if self.money > 0.0:
            return self.gone / self.money, self.gone_strict / self.money
        return self.gone_events / max(1, self.events), self.seen_events / max(1, self.events)

    def pass_by(self, event: Event, alerted: bool) -> None:
        money = _money(event)
        self.seen_events += 1
        self.gone_strict += money
        if alerted and event.order_id is not None:
            self.held.add(event.order_id)
        if not alerted and event.order_id not in self.held:
            self.gone_events += 1
            self.gone += money

    def check(self) -> None:
        if self.found_after is None and 2 * len(self.alerted) >= len(self.accounts):
            gone, strict = self.gone_shares()
            self.found_strict = self.found_strict or (strict < 0.5 and not self.late)
            if gone < 0.5:
                self.found_after = self.seen_events + 1
            else:
                self.late = True


@dataclass(slots=True)
class PatternFigures:
    pattern: str
    campaigns: int
    found: int
    found_strict: int
    late: int
    median_delay_events: float | None
    missed: list[str]
    innocents: int
    """Distinct innocent users in alerts that name the pattern."""

    @property
    def recall(self) -> float:
        return self.found / max(1, self.campaigns)


@dataclass(slots=True)
class RingFigures:
    true: int
    reported: int
    found: int
    right: int
    missed: list[str]
    wrong: list[str]

    @property
    def recall(self) -> float:
        return self.found / max(1, self.true)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.reported)


@dataclass(slots=True)
class Figures:
    patterns: list[PatternFigures]
    innocents: int
    """Distinct users of no campaign."""
    alerted: int
    """Of them, in an alert for now: HIGH or CRITICAL, whatever the reason."""
    alerted_any: int
    """Of them, in any alert, those for the digest included."""
    named: int
    """Of them, in an alert that names a pattern."""
    rings: RingFigures

    @property
    def alerted_share(self) -> float:
        return self.alerted / max(1, self.innocents)


class Truth:
    """What was planted: `truth_events.csv` and `truth_rings.jsonl` of a simulated market."""

    def __init__(self, market: Path) -> None:
        self.campaign_of: dict[str, str] = {}
        self.campaigns: dict[str, Campaign] = {}
        with (market / "truth_events.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                if row["fraud"] == "1":
                    self.campaign_of[row["event_id"]] = row["campaign"]
                    key = row["campaign"]
                    self.campaigns.setdefault(key, Campaign(key, row["pattern"], row["form"]))
        with (market / "truth_rings.jsonl").open() as file:
            rows = [json.loads(line) for line in file]
        planted = [row for row in rows if not row["innocent"]]
        self.members = {row["group_id"]: set(row["members"]) for row in planted}
        self.shared = {
            row["group_id"]: {(kind, id_) for kind, ids in row["shared"].items() for id_ in ids} for row in planted
        }
        self.guilty = set().union(*self.members.values()) if self.members else set()
        self.groups_of: dict[str, list[str]] = {}
        for group, users in self.members.items():
            for user in users:
                self.groups_of.setdefault(user, []).append(group)


class Watch:
    """Follows a run: `expect` every event first (for the totals), then `see` the decisions in order."""

    def __init__(self, truth: Truth, strong: Iterable[str]) -> None:
        self.truth = truth
        self._strong = frozenset(strong)
        self._links: dict[str, dict[tuple[str, str], set[str]]] = {}
        self._innocent: set[str] = set()
        self._urgent: set[str] = set()
        self._any: set[str] = set()
        self._named: dict[str, set[str]] = {}

    def expect(self, events: Iterable[Event]) -> None:
        for event in events:
            key = self.truth.campaign_of.get(event.event_id)
            user = event.user
            if user is not None:
                self._link(event, user, key)
            if key is None:
                if user is not None and user not in self.truth.guilty:
                    self._innocent.add(user)
                continue
            campaign = self.truth.campaigns[key]
            campaign.events += 1
            campaign.money += _money(event)
            if user is not None:
                campaign.accounts.add(user)

    def _link(self, event: Event, user: str, key: str | None) -> None:
        """By a fraudulent event to all that is strong, by any other to what the campaign shares."""
        named = [about for about in event.entities.items() if about[0] in self._strong]
        for group in {*self.truth.groups_of.get(user, ()), *([key] if key is not None else [])}:
            links = self._links.setdefault(group, {})
            for about in named if group == key else self.truth.shared[group].intersection(named):
                links.setdefault(about, set()).add(user)

    def see(self, decisions: Decisions) -> None:
        for row, event in enumerate(decisions.events):
            level, patterns = int(decisions.level[row]), decisions.patterns[row]
            accounts: Sequence[str] = decisions.accounts[row] if decisions.accounts else ()
            if not accounts and event.user is not None:
                accounts = (event.user,)
            if level >= Level.MEDIUM:
                self._any.update(accounts)
            if level >= Level.HIGH:
                self._urgent.update(accounts)
            for pattern in patterns:
                self._named.setdefault(pattern, set()).update(accounts)
            if patterns:
                for campaign in self.truth.campaigns.values():
                    hit = campaign.accounts.intersection(accounts)
                    if hit and campaign.pattern in patterns:
                        campaign.alerted |= hit
                        campaign.check()
                    elif hit:
                        campaign.named.update(patterns)
            key = self.truth.campaign_of.get(event.event_id)
            if key is not None:
                campaign = self.truth.campaigns[key]
                campaign.pass_by(event, campaign.pattern in patterns)

    def figures(self, rings: Sequence[Ring], least_risk: float = 0.5) -> Figures:
        campaigns = list(self.truth.campaigns.values())
        patterns = []
        for name in sorted({c.pattern for c in campaigns}):
            mine = [c for c in campaigns if c.pattern == name]
            delays = [c.found_after for c in mine if c.found_after is not None]
            missed = [f"{c.campaign}: {_why(c)}" for c in mine if c.found_after is None]
            wrong = len(self._named.get(name, set()) & self._innocent)
            strict = sum(c.found_strict for c in mine)
            middle = float(statistics.median(delays)) if delays else None
            late = sum(c.late for c in mine if c.found_after is None)
            patterns.append(PatternFigures(name, len(mine), len(delays), strict, late, middle, missed, wrong))
        named = set().union(*self._named.values()) if self._named else set()
        return Figures(
            patterns,
            len(self._innocent),
            len(self._urgent & self._innocent),
            len(self._any & self._innocent),
            len(named & self._innocent),
            self._rings([r for r in rings if r.summary.risk >= least_risk]),
        )

    def true_rings(self) -> dict[str, set[str]]:
        """Three and more accounts of a campaign that are linked by strong things: by what its fraudulent events name, and by any event to
        what was planted for it to share. A campaign whose accounts fall into parts that share nothing (two parcel lockers) is as many rings."""
        found = {}
        for key, links in self._links.items():
            for i, part in enumerate(_components(links.values())):
                if len(part) >= _LEAST_RING:
                    found[f"{key}/{i}"] = part
        return found

    def _rings(self, rings: Sequence[Ring]) -> RingFigures:
        truths = self.true_rings()
        reported = {r.summary.ring_id: {m.user for m in r.members} for r in rings}
        reported = {ring_id: users for ring_id, users in reported.items() if len(users) >= _LEAST_RING}
        matches = {
            ring_id: max(((_jaccard(users, truth), key) for key, truth in truths.items()), default=(0.0, ""))
            for ring_id, users in reported.items()
        }
        right = {ring_id for ring_id, (score, _) in matches.items() if score >= _JACCARD}
        found = {key for score, key in matches.values() if score >= _JACCARD}
        missed = [key for key in truths if key not in found]
        wrong = [f"{r} ({len(reported[r])} users, nearest {matches[r]})" for r in reported if r not in right]
        return RingFigures(len(truths), len(reported), len(found), len(right), missed, wrong)


def _money(event: Event) -> float:
    moved = event.type in _MONEY and event.outcome in ("approved", "success") and event.amount_minor is not None
    return float(event.amount_minor or 0) if moved else 0.0


def _why(c: Campaign) -> str:
    others = f", named {', '.join(sorted(c.named))}" if c.named else ""
    when = "late" if c.late else "never"
    return f"{len(c.alerted)} of {len(c.accounts)} accounts, {when}{others}"


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / max(1, len(a | b))


def _components(groups: Iterable[set[str]]) -> list[set[str]]:
    parts: list[set[str]] = []
    for group in groups:
        touched = [p for p in parts if p & group]
        parts = [p for p in parts if not p & group] + [set(group).union(*touched)]
    return parts
