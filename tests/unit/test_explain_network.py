"""Counterfactuals of a decision that a graph network had part in: it is asked again without what is thought away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.models import SCHEMA, column, new_book, new_stream, put, shop
from support.networks import Written, gnn, joined
from test_explain_what_if import as_stored, peers_of

from explain.changes import AsUsual, WithoutEntity, WithoutUser, applied
from explain.explanation import explain
from explain.past import Past
from explain.replay import replay
from explain.usual import usual_of
from explain.what_if import WhatIf
from gnn.kept import unpack
from gnn.removal import Link, margins_without
from ledger.store import StoredAssessment
from ringwatch.errors import Corrupt
from scorers.decision import Decisions
from scorers.learned.book import LABELS_STALE
from scorers.learned.inputs import LEARNED, NETWORKS
from scorers.learned.model import Evaluator, probability
from scorers.learned.shelf import Serving, Shelf
from scorers.policy import Policy, TenantPolicy
from scorers.registry import build_scorers

EAGER = Policy(TenantPolicy(levels={"MEDIUM": 0.05, "HIGH": 0.4, "CRITICAL": 0.9}))
ITEMS = shop(500, 5, labels_until=300)


@pytest.fixture
def made(shelf: Shelf, tmp_path: Path) -> Decisions:
    one, two = (put(shelf, f"n{n}", joined(n), tmp_path) for n in (1, 2))
    shelf.serve(Serving(one, two))
    book = new_book(shelf)
    book.past = Written()
    return new_stream(book, policy=EAGER).feed(ITEMS)


@pytest.fixture
def alerted(made: Decisions) -> list[StoredAssessment]:
    found = [t for t in as_stored(made) if t.hood]
    assert len(found) > 50
    return found


def past(shelf: Shelf) -> Past:
    return Past(SCHEMA, build_scorers, EAGER, shelf)


def what_if(shelf: Shelf, then: StoredAssessment) -> WhatIf:
    mine = past(shelf)
    return WhatIf(mine, then, usual_of(SCHEMA, then, peers_of([then])))


def test_alerts_keep_what_the_champions_network_saw(made: Decisions, alerted: list[StoredAssessment]) -> None:
    one = gnn(seed=1)
    for then in alerted:
        hood, _ = unpack(then.hood, one)
        assert probability(margins_without(one, hood, [set()]))[0] == then.assessment.scores[NETWORKS[0]]
    kept = {t.event.event_id for t in alerted}
    asked = ~np.isnan(column(made, NETWORKS[0]))
    for row, event in enumerate(made.events):
        if made.level[row] > 0 and asked[row]:
            assert event.event_id in kept


def test_without_a_change_it_is_what_it_was(shelf: Shelf, alerted: list[StoredAssessment]) -> None:
    for then in alerted[::5]:
        (same,) = what_if(shelf, then).of([()])
        assert same.score == then.assessment.score
        assert replay(past(shelf), then).identical


def test_an_entity_that_is_thought_away_is_gone_for_the_network_too(
    shelf: Shelf, alerted: list[StoredAssessment]
) -> None:
    moved = 0
    for then in alerted[::5]:
        change = WithoutEntity("device", then.event.entities["device"])
        mine, blind = what_if(shelf, then), what_if(shelf, replace(then, hood=b""))
        assert (mine.network_counts, blind.network_counts) == (True, False)
        moved += mine.of([(change,)])[0].score != blind.of([(change,)])[0].score
    assert moved > len(alerted[::5]) * 0.8


def test_another_user_that_is_thought_away_was_never_met(shelf: Shelf, alerted: list[StoredAssessment]) -> None:
    """By hand: the network without the links to it, then the model with that and the features that there are then."""
    checked, one = 0, gnn(seed=1)
    for then in alerted:
        hood, keys = unpack(then.hood, one)
        mine = what_if(shelf, then)
        for key, on in mine.links.by_user.items():
            links = {Link(1, p) for p in np.flatnonzero((keys[1] == key) & (hood.met_kind[1] >= 0)).tolist()}
            if "device" not in on or not links:
                continue
            change = WithoutUser(key, ("device",))
            variant = applied(SCHEMA, then, past(shelf).vector(then), [change], mine.links)
            assessor, models = past(shelf).assessor(then)
            models.think_away([models.saw(variant.gone)])
            found = Past.assess(assessor, [variant.event], variant.features[None, :], [variant.ring])
            margin = margins_without(one, hood, [links])
            assert column(found, NETWORKS[0]) == probability(margin)
            names = [s.name for s in build_scorers()]
            scores = found.scores_of(names)
            silence_s = np.array([np.inf if LABELS_STALE in then.assessment.degraded else 0.0])
            said = Evaluator(joined(1), SCHEMA.names, names).margin(found.features, scores, silence_s, margin)
            assert column(found, LEARNED) == probability(said)
            assert mine.of([(change,)])[0].score == found.score[0]
            checked += 1
    assert checked > 5


def test_a_feature_as_usual_leaves_the_network(shelf: Shelf, alerted: list[StoredAssessment]) -> None:
    then = alerted[0]
    change = AsUsual("event.amount_log", 7.0)
    seen, blind = (what_if(shelf, t).of([(change,)])[0] for t in (then, replace(then, hood=b"")))
    assert seen == blind


def test_explanations_say_whether_the_network_counts(shelf: Shelf, alerted: list[StoredAssessment]) -> None:
    then = alerted[-1]
    peers = peers_of(alerted)
    assert explain(past(shelf), then, peers).network_counts is True
    assert explain(past(shelf), replace(then, hood=b""), peers).network_counts is False
    made = new_stream(policy=EAGER).feed(ITEMS)
    bare = as_stored(made)[-1]
    assert bare.hood == b""
    assert explain(Past(SCHEMA, build_scorers, EAGER), bare, peers).network_counts is None


def test_what_was_kept_and_is_damaged_is_said(shelf: Shelf, alerted: list[StoredAssessment]) -> None:
    with pytest.raises(Corrupt, match="what a network saw"):
        what_if(shelf, replace(alerted[0], hood=b"\x01damaged"))
