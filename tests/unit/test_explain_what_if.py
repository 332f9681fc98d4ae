"""Counterfactuals: what an event had been given with something changed."""

from __future__ import annotations

import numpy as np
import pytest
from support.expected import events_of, market
from support.models import SCHEMA, new_stream

from explain.changes import AsUsual, WithoutEntity, applied
from explain.explanation import explain
from explain.others import Others
from explain.past import Past
from explain.usual import Usual, usual_of
from explain.what_if import WhatIf
from features.columns import Applied
from features.memory_state import MemoryState
from features.record import LINKS
from features.seen import pack
from ledger.store import Peers, StoredAssessment
from ringwatch.model import Action, Event, Level
from scorers.decision import Decisions
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers

PAST = Past(SCHEMA, build_scorers, Policy())


def as_stored(made: Decisions) -> list[StoredAssessment]:
    names = made.schema.names
    return [
        StoredAssessment(
            made.assessment(row), event, b"",
            {n: float(v) for n, v in zip(names, made.features[row], strict=True) if v == v}, made.links[row],
            made.hoods[row] if made.hoods else b"",
        )
        for row, event in enumerate(made.events)
    ]  # fmt: skip


def peers_of(told: list[StoredAssessment]) -> Peers:
    features = np.full((len(told), SCHEMA.size), np.nan, np.float32)
    for row, one in zip(features, told, strict=True):
        row[[SCHEMA.column(name) for name in one.features]] = list(one.features.values())
    return Peers(tuple(one.event.type for one in told), features)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events_of(market(tmp_path_factory.mktemp("market"), 6000)[:6000], "default")


@pytest.fixture(scope="module")
def told(events: list[Event]) -> list[StoredAssessment]:
    return as_stored(new_stream().feed(list(enumerate(events))))


@pytest.fixture(scope="module")
def usual(told: list[StoredAssessment]) -> Usual:
    return usual_of(SCHEMA, told[-1], peers_of([t for t in told if t.assessment.level == "LOW"][-400:]))


def alerted(told: list[StoredAssessment]) -> list[StoredAssessment]:
    return [t for t in told if Level[t.assessment.level] >= Level.MEDIUM]


@pytest.mark.parametrize("kept", [True, False])
def test_without_an_entity_features_are_what_the_kernel_gives_where_the_event_made_the_link(
    events: list[Event], kept: bool
) -> None:
    """And where the user has few enough links for all to be kept. Two features need the links that were kept with the decision."""
    state, ahead = MemoryState(SCHEMA, max_entities=100_000), MemoryState(SCHEMA, max_entities=100_000)
    start, compared = 4000, 0
    state.apply(list[Applied](events[:start]))
    ahead.apply(list[Applied](events[:start]))
    others = slice(SCHEMA.sequence_offset, None)
    for event in events[start : start + 600]:
        features = state.apply([event], commit=False)[0]
        _, seen = ahead.apply_seen([event])
        for kind in event.entities if features[SCHEMA.column("user.neighbours_all")] < LINKS else ():
            if kind == "user" or features[SCHEMA.column(f"{kind}.link_new")] != 1.0:
                continue
            known = {n: float(v) for n, v in zip(SCHEMA.names, features, strict=True) if v == v}
            then = StoredAssessment(_assessment(event), event, b"", known, pack(seen, 0) if kept else b"")
            found = applied(SCHEMA, then, features, [WithoutEntity(kind, event.entities[kind])], Others(SCHEMA, then))
            wanted = state.apply([found.event], commit=False)[0]
            mine, theirs = found.features.copy(), wanted.copy()
            mine[others] = theirs[others] = 0.0
            differ = [
                SCHEMA.names[i] for i in np.flatnonzero(~((mine == theirs) | (np.isnan(mine) & np.isnan(theirs))))
            ]
            unknown = set() if kept else {"user.top_share", "user.young_neighbours"}
            assert set(differ) <= unknown, (event.event_id, kind, differ)
            compared += 1
        state.apply([event])
    assert compared > 100


def _assessment(event: Event) -> object:
    from ringwatch.model import Assessment, Versions

    return Assessment(
        event.event_id, "default", event.at_us, event.user, 0.0, "LOW", "allow", {}, (), Versions("", {}, ""), {}
    )


def test_nothing_changed_is_what_it_was(told: list[StoredAssessment], usual: Usual) -> None:
    for then in alerted(told)[:30]:
        (same,) = WhatIf(PAST, then, usual).of([[]])
        assert (same.score, same.level, same.action) == (
            then.assessment.score,
            then.assessment.level,
            then.assessment.action,
        )
        assert same.less == 0.0


def test_the_smallest_set_makes_the_action_milder_and_needs_each_of_its_changes(
    told: list[StoredAssessment], usual: Usual
) -> None:
    sizes: list[int] = []
    for then in alerted(told)[:40]:
        what_if = WhatIf(PAST, then, usual)
        found = what_if.flip()
        if found is None:
            continue
        sizes.append(len(found.changes))
        was = Action[then.assessment.action.upper()]
        assert Action[found.action.upper()] < was
        assert what_if.of([found.changes]) == [found]
        for left in found.changes:
            (without,) = what_if.of([[c for c in found.changes if c is not left]])
            assert Action[without.action.upper()] >= was
        if len(found.changes) > 1:
            singles = [*what_if.entities(), *what_if.features(of_links=True)]
            assert all(Action[o.action.upper()] >= was for o in singles)
    assert len(sizes) >= 10
    assert max(sizes) >= 1


def test_what_is_allowed_cannot_be_milder(told: list[StoredAssessment], usual: Usual) -> None:
    assert WhatIf(PAST, next(t for t in told if t.assessment.action == "allow"), usual).flip() is None


def test_features_as_usual(told: list[StoredAssessment], usual: Usual) -> None:
    then = max(told, key=lambda t: t.assessment.score)
    found = WhatIf(PAST, then, usual).features()
    assert [o.less for o in found] == sorted((o.less for o in found), reverse=True)
    assert found[0].less > 0.0
    for outcome in found:
        (change,) = outcome.changes
        assert isinstance(change, AsUsual)
        middle = float(usual.middle[SCHEMA.column(change.feature)])
        assert change.usual == (None if middle != middle else middle)
    of_links = WhatIf(PAST, then, usual).features(of_links=True)
    assert {o.changes for o in of_links} <= {o.changes for o in found}


def test_peers_are_of_the_events_type_where_there_are_enough(told: list[StoredAssessment]) -> None:
    low = [t for t in told if t.assessment.level == "LOW"]
    payment = next(t for t in low if t.event.type == "payment")
    found = usual_of(SCHEMA, payment, peers_of(low))
    payments = [t.features["event.amount_minor"] for t in low if t.event.type == "payment"]
    assert found.of_type
    assert found.peers == len(payments)
    assert found.middle[SCHEMA.column("event.amount_minor")] == np.quantile(payments, 0.5, method="lower")
    assert found.high[SCHEMA.column("event.amount_minor")] == np.quantile(payments, 0.95, method="lower")
    few = usual_of(SCHEMA, payment, peers_of(low[:10]))
    assert (few.peers, few.of_type) == (10, False)
    none = usual_of(SCHEMA, payment, peers_of([]))
    assert none.peers == 0
    assert np.isnan(none.middle).all()


def test_a_policy_of_then_counts_and_where_it_is_not_kept_no_change_is_told(told: list[StoredAssessment]) -> None:
    then = max(told, key=lambda t: len(t.event.entities) * (Level[t.assessment.level] >= Level.MEDIUM))
    other = Policy(TenantPolicy(levels={"MEDIUM": 0.97, "HIGH": 0.98, "CRITICAL": 0.99}, other_weight=0.3))
    peers = peers_of([t for t in told if t.assessment.level == "LOW"][-400:])
    wanted = explain(PAST, then, peers)
    assert wanted.evidence
    assert not wanted.trouble
    kept = Past(
        SCHEMA, build_scorers, other, policy_of=lambda version: Policy() if version == Policy().version else None
    )
    assert explain(kept, then, peers) == wanted
    bare = explain(Past(SCHEMA, build_scorers, other), then, peers)
    assert "what decided then is not what decides now" in bare.trouble
    assert (bare.evidence, bare.others, bare.features, bare.flip) == ((), None, (), None)
    assert bare.habits == wanted.habits
    assert bare.summary[:-1] == wanted.summary[: len(bare.summary) - 1]
    assert bare.trouble in bare.summary[-1]


def test_what_is_said_of_usual_is_said_of_those_that_have_it(told: list[StoredAssessment]) -> None:
    """Every number of the sentence is counted again."""
    peers = peers_of([t for t in told if t.assessment.level == "LOW"][-400:])
    sentences = 0
    for then in alerted(told)[:40]:
        found = explain(PAST, then, peers)
        if not found.features:
            continue
        f, same = found.features[0], np.array([t == then.event.type for t in peers.types])
        values = peers.features[same if found.of_type else slice(None)][:, SCHEMA.column(f.name)]
        known = values[~np.isnan(values)]
        assert (len(values), len(known)) == (found.peers, f.known)
        if f.usual is not None:
            assert np.sum(known <= f.usual) >= len(known) / 2
            assert np.sum(known < f.usual) <= len(known) / 2
            assert f"{f.known} have it, half of these {f.usual:,.4g} or less" in " ".join(found.summary)
        sentences += 1
    assert sentences > 5
    nobody = explain(PAST, alerted(told)[0], peers_of([]))
    assert not nobody.features
    assert nobody.flip is None or not any(isinstance(c, AsUsual) for c in nobody.flip.changes)
