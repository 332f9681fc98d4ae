"""Decisions made anew from what was stored with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.expected import events_of, market
from support.models import SCHEMA, new_book, new_stream, put, shop, spoil_file, trained
from support.networks import joined
from support.rule_files import rule, rules

from explain.past import Past
from explain.replay import Replayed, replay
from features.schema import FeatureSchema
from ledger.personal import erased
from ledger.queries import LedgerQueries
from ledger.store import LedgerWrite, StoredAssessment
from ringwatch.model import Event
from scorers.decision import Decisions
from scorers.learned.inputs import LEARNED
from scorers.learned.shelf import Placed, Serving, Shelf
from scorers.lists import load_lists
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers
from scorers.rules.book import RuleBook
from scorers.rules.load import parse_rules

EAGER = Policy(TenantPolicy(levels={"MEDIUM": 0.1, "HIGH": 0.4, "CRITICAL": 0.8}))


def stored(made: Decisions, folder: Path) -> list[StoredAssessment]:
    """As the ledger gives them back, in order."""
    ledger = LedgerQueries(f"sqlite:///{folder / 'ledger.sqlite'}", made.schema)
    ledger.prepare()
    ledger.write(LedgerWrite(made))
    by_id: dict[str, StoredAssessment] = {}
    for tenant in {e.tenant for e in made.events}:
        by_id |= ledger.assessments(tenant, [e.event_id for e in made.events if e.tenant == tenant])
    ledger.close()
    return [by_id[e.event_id] for e in made.events]


def past(shelf: Shelf | None = None, policy: Policy | None = None, known: RuleBook | None = None) -> Past:
    book = None if known is None else known.active.rules
    return Past(
        SCHEMA, build_scorers, policy or Policy(), shelf,
        lambda version: book if book is not None and book.version == version else None,
    )  # fmt: skip


def differing(found: list[Replayed]) -> list[Replayed]:
    return [r for r in found if not r.identical or r.versions or r.trouble]


def test_every_decision_of_a_market_is_made_anew_to_the_bit(tmp_path: Path) -> None:
    """With lists, rules in every mode, and the scorer that learns from the stream."""
    book = RuleBook(
        parse_rules(
            rules(
                rule("event.amount_minor > 20000", id="large", score=0.3, mode="advise"),
                rule("device.neighbours_all > 2", id="shared", score=0.9, action="block"),
                rule("event.hour < 6", id="night", score=0.5, mode="shadow"),
            )
        )
    )
    events = events_of(market(tmp_path / "market", 2500)[:2500], "default")
    blocked, allowed = (events[i].user for i in (700, 900))
    lists = tmp_path / "lists.yaml"
    lists.write_text(
        f"block:\n  - {{kind: user, id: {blocked}, owner: anna, reason: tried}}\n"
        f"allow:\n  - {{kind: user, id: {allowed}, owner: ben, reason: tester}}\n"
    )
    made = new_stream(policy=EAGER, lists=load_lists(lists), rules=book).feed(list(enumerate(events)))
    assert len(set(made.level.tolist())) == 4
    mine = past(policy=EAGER, known=book)
    found = [replay(mine, then) for then in stored(made, tmp_path)]
    assert differing(found) == []
    assert any("behaviour_isolation" in r.taken for r in found)
    assert any("listed" in r.taken for r in found)


@pytest.mark.parametrize("with_network", [False, True])
def test_what_models_said_is_said_again(shelf: Shelf, tmp_path: Path, with_network: bool) -> None:
    """Champion and challenger, where labels come and where they have stopped, beside the rule and with graph networks."""
    one, two = (put(shelf, f"m{n}", joined(n) if with_network else trained(n, rule=n == 1), tmp_path) for n in (1, 2))
    shelf.serve(Serving(one, two))
    made = new_stream(new_book(shelf), policy=EAGER).feed(shop(500, 5, labels_until=200))
    assert made.reasons[-1] or any(made.reasons)
    kept = stored(made, tmp_path)
    assert differing([replay(past(shelf, EAGER), then) for then in kept]) == []
    shelf.serve(Serving())
    assert differing([replay(past(shelf, EAGER), then) for then in kept[-20:]]) == []


def test_what_differs_is_shown(shelf: Shelf, one: Placed, tmp_path: Path) -> None:
    shelf.serve(Serving(one))
    made = new_stream(new_book(shelf), policy=EAGER).feed(shop(300, 5))
    kept = sorted(stored(made, tmp_path), key=lambda s: (not s.assessment.patterns, s.assessment.score))
    other, then = kept[0], kept[-1]
    stricter = Policy(TenantPolicy(levels={"MEDIUM": 0.1, "HIGH": 0.4, "CRITICAL": 0.9999999}))
    found = replay(past(shelf, stricter), then)
    assert not found.identical
    assert [d.what for d in found.differences] == ["level", "action"]
    assert [(d.what, d.then, d.now) for d in found.versions] == [("policy", EAGER.version, stricter.version)]
    changed = replay(past(shelf, EAGER), replace(then, features=other.features))
    assert not changed.identical
    assert f"scores.{LEARNED}" in [d.what for d in changed.differences]
    spoil_file(shelf, one)
    gone = replay(past(shelf, EAGER), then)
    assert not gone.identical
    assert "not the model" in gone.trouble


def test_what_was_not_kept_is_said(tmp_path: Path) -> None:
    made = new_stream().feed(shop(50, 5))
    then = stored(made, tmp_path)[-1]
    assert "features" in replay(past(), replace(then, features={})).trouble
    other = FeatureSchema(SCHEMA.kinds[:5])
    assert "feature schema" in replay(Past(other, build_scorers, Policy()), then).trouble


def test_what_was_erased_is_said_and_shows_where_a_rule_read_it(tmp_path: Path) -> None:
    book = RuleBook(parse_rules(rules(rule('attributes.gift == "card"', id="gift", score=0.9, mode="advise"))))
    events = [msgspec.structs.replace(e, attributes={"gift": "card"}) for _, e in shop(50, 5) if isinstance(e, Event)]
    made = new_stream(rules=book).feed(list(enumerate(events)))
    then = stored(made, tmp_path)[-1]
    mine = past(known=book)
    assert replay(mine, then) == Replayed(then.event.event_id, True, taken=replay(mine, then).taken)
    found = replay(mine, replace(then, event=erased(then.event)))
    assert found.missing == "erased: user_agent, lat, lon, order_id, attributes"
    assert "scores.rules" in [d.what for d in found.differences]


def test_levels_that_a_budget_had_moved_count(tmp_path: Path) -> None:
    """The version of the policy names them."""
    made = new_stream().feed(shop(300, 5))
    then = max(stored(made, tmp_path), key=lambda s: s.assessment.score)
    a = then.assessment
    moved = replace(
        then,
        assessment=_with(a, policy=f"{a.versions.policy}@0.9990/0.9995/0.9999", level="LOW", action="allow"),
    )
    found = replay(past(), moved)
    assert [d.what for d in found.differences] in ([], ["reasons"])
    assert found.versions == ()


def _with(a: object, *, policy: str, level: str, action: str) -> object:
    import msgspec

    versions = msgspec.structs.replace(a.versions, policy=policy)  # type: ignore[attr-defined]
    return msgspec.structs.replace(a, versions=versions, level=level, action=action)  # type: ignore[type-var]
