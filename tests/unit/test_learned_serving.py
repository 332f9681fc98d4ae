"""Learned models that serve: what makes the score, what is said beside it, what happens where a model cannot be used."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.models import (
    KINDS,
    SCHEMA,
    column,
    cut,
    new_book,
    new_stream,
    put,
    same,
    shop,
    silence_of,
    spoil_file,
    trained,
)
from support.rule_files import rule, rules

from ringwatch.model import Level
from scorers.learned.book import NONE, UNUSABLE, Active, ModelBook, Ready
from scorers.learned.inputs import CHALLENGER, LEARNED, OF_MODELS, Inputs
from scorers.learned.model import Evaluator, LearnedModel, View, probability
from scorers.learned.shelf import Placed, Serving, Shelf
from scorers.lists import load_lists
from scorers.policy import Policy, TenantPolicy
from scorers.rules.book import RuleBook
from scorers.rules.load import parse_rules
from training.table import TableBuilder

TEST = shop(500, 5)


# -- the champion


def test_the_champions_probability_is_the_score(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    made = new_stream(new_book(shelf)).feed(TEST)
    evaluator = Evaluator(trained(1), SCHEMA.names, made.scorer_names)
    wanted = probability(evaluator.margin(made.features, made.scores, silence_of(made)))
    assert np.array_equal(column(made, LEARNED), wanted)
    assert made.score == pytest.approx(wanted, abs=1e-12)
    assert {v.scorers[LEARNED] for v in made.versions} == {one.id}
    assert {v.scorers[CHALLENGER] for v in made.versions} == {NONE}
    assert np.isnan(column(made, CHALLENGER)).all()
    assert not np.allclose(made.score, new_stream().feed(TEST).score)
    thresholds = np.searchsorted([0.5, 0.6, 0.85], made.score, side="right")
    assert np.array_equal(made.level, [max(t, 2) if p else t for t, p in zip(thresholds, made.patterns, strict=True)])


def test_the_rule_may_keep_its_say_beside_the_champion(shelf: Shelf, tmp_path: Path) -> None:
    by_rule = new_stream().feed(TEST)
    shelf.serve(Serving(put(shelf, "beside", trained(1, rule=True), tmp_path)))
    made = new_stream(new_book(shelf)).feed(TEST)
    assert made.score == pytest.approx(1.0 - (1.0 - column(made, LEARNED)) * (1.0 - by_rule.score), abs=1e-12)
    assert (made.score > column(made, LEARNED) + 0.01).any()
    codes = {r.code.partition(".")[0] for row in np.flatnonzero(made.level > 0).tolist() for r in made.reasons[row]}
    assert {"learned", "statistical"} <= codes
    for reasons in made.reasons:
        said = [(r.code, r.text, r.entity) for r in reasons]
        assert len(set(said)) == len(said), "what a scorer says for the model and for itself is told once"
    for row in np.flatnonzero(made.level >= Level.MEDIUM).tolist():
        assert sum(r.contribution for r in made.reasons[row]) == pytest.approx(float(made.score[row]), abs=1e-9)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_batches_change_nothing(shelf: Shelf, one: Placed, two: Placed, size: int) -> None:
    shelf.serve(Serving(one, two))
    items = shop(350, 5, labels_until=150)
    whole = new_stream(new_book(shelf)).feed(items)
    assert same(whole, cut(new_stream(new_book(shelf)), items, size))
    assert (whole.level >= Level.MEDIUM).any()


def test_reasons_add_up_and_name_what_they_are_about(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    made = new_stream(new_book(shelf)).feed(TEST)
    explained = np.flatnonzero(made.level >= Level.MEDIUM).tolist()
    assert len(explained) > 20
    for row in explained:
        reasons = made.reasons[row]
        assert sum(r.contribution for r in reasons) == pytest.approx(float(made.score[row]), abs=1e-9)
        assert all(r.contribution >= 0.0 for r in reasons)
    about = {(r.kind, r.code) for row in explained for r in made.reasons[row]}
    assert ("device", "learned.device") in about
    bad = next(row for row in explained if made.events[row].entities["device"].startswith("bad"))
    first = max(made.reasons[bad], key=lambda r: r.contribution)
    assert (first.kind, first.entity) == ("device", made.events[bad].entities["device"])
    assert first.text.startswith(("device: ", "user and device: "))


def test_a_pattern_raises_the_level_and_says_why_whatever_the_model_says(shelf: Shelf, one: Placed) -> None:
    from tests.support.stories import in_time, taken_over

    shelf.serve(Serving(one))
    events = in_time(taken_over().events)
    made = new_stream(new_book(shelf), policy=Policy()).feed(list(events))
    named = [row for row, patterns in enumerate(made.patterns) if patterns]
    assert named
    for row in named:
        assert made.level[row] >= Level.HIGH
        codes = [r.code.split(".")[0] for r in made.reasons[row]]
        assert set(made.patterns[row]) <= set(codes)
        assert sum(r.contribution for r in made.reasons[row]) == pytest.approx(float(made.score[row]), abs=1e-9)


def test_what_people_decided_goes_on_top(shelf: Shelf, one: Placed, tmp_path: Path) -> None:
    shelf.serve(Serving(one))
    plain = new_stream(new_book(shelf)).feed(TEST)
    calm, loud = int(np.argmin(plain.score)), int(np.argmax(plain.score))
    blocked, allowed = plain.events[calm].user, plain.events[loud].user
    assert blocked != allowed
    path = tmp_path / "lists.yaml"
    path.write_text(
        f"block: [{{kind: user, id: {blocked}, owner: a, reason: chargebacks}}]\n"
        f"allow: [{{kind: user, id: {allowed}, owner: a, reason: ours}}]\n"
    )
    listed = new_stream(new_book(shelf), lists=load_lists(path)).feed(TEST)
    assert listed.score[calm] == 1.0
    assert listed.score[loud] < 0.5
    assert column(listed, LEARNED)[loud] == plain.score[loud]
    text = rules(rule("event.amount_minor >= 0", mode="act", action="block"))
    acted = new_stream(new_book(shelf), rules=RuleBook(parse_rules(text, "r.yaml", SCHEMA))).feed(TEST)
    assert (acted.score >= 0.85).all()
    assert np.array_equal(column(acted, LEARNED), column(plain, LEARNED))
    advised = rules(rule("event.amount_minor >= 0", mode="advise"))
    made = new_stream(new_book(shelf), rules=RuleBook(parse_rules(advised, "r.yaml", SCHEMA))).feed(TEST)
    assert (made.score >= plain.score - 1e-12).all()
    assert made.score[calm] > plain.score[calm]
    for row in np.flatnonzero(made.level >= Level.MEDIUM).tolist():
        assert sum(r.contribution for r in made.reasons[row]) == pytest.approx(float(made.score[row]), abs=1e-9)


def test_the_policys_thresholds_hold_for_probabilities(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    low = TenantPolicy(levels={"MEDIUM": 0.01, "HIGH": 0.02, "CRITICAL": 0.03})
    made = new_stream(new_book(shelf), policy=Policy(low)).feed(TEST)
    assert np.array_equal(made.level == Level.CRITICAL, made.score >= 0.03)


# -- no model


def test_without_a_model_nothing_is_degraded(shelf: Shelf) -> None:
    made, plain = (new_stream(book).feed(TEST) for book in (new_book(shelf), None))
    assert same(made, plain)
    assert not any(made.degraded)
    assert made.scorer_names[-len(OF_MODELS) :] == OF_MODELS
    assert np.isnan(made.scores_of(OF_MODELS)).all()
    assert {v.scorers[LEARNED] for v in made.versions} == {NONE}


def spoil_nothing_left(shelf: Shelf, placed: Placed) -> None:
    shelf.path(placed.version).unlink()


@pytest.mark.parametrize("spoil", [spoil_file, spoil_nothing_left])
def test_a_model_that_cannot_be_used_leaves_the_rule_and_says_so(
    shelf: Shelf, one: Placed, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    whole = shelf.path("one").read_bytes()
    shelf.serve(Serving(one))
    spoil(shelf, one)  # type: ignore[operator]
    now = [0.0]
    with caplog.at_level(logging.WARNING):
        book = new_book(shelf, clock=lambda: now[0])
        stream = new_stream(book)
        made = stream.feed(TEST[:200])
        now[0] = 11.0
        stream.feed(TEST[200:300])
    assert [r.levelname for r in caplog.records if one.id in r.message] == ["WARNING"], "it is said once"
    assert all(UNUSABLE in codes for codes in made.degraded)
    assert one.id in book.trouble
    assert np.array_equal(made.score, new_stream().feed(TEST[:200]).score)
    assert {v.scorers[LEARNED] for v in made.versions} == {NONE}
    shelf.path("one").write_bytes(whole)
    now[0] = 30.0
    after = stream.feed(TEST[300:])
    assert not any(UNUSABLE in codes for codes in after.degraded)
    assert book.trouble == ""
    assert {v.scorers[LEARNED] for v in after.versions} == {one.id}


def test_a_model_of_other_features_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    other = put(shelf, "other", trained(1), tmp_path, schema="0123456789abcdef")
    shelf.serve(Serving(other))
    book = new_book(shelf)
    assert "feature schema 0123456789abcdef" in book.trouble
    assert all(UNUSABLE in codes for codes in new_stream(book).feed(TEST[:20]).degraded)


def test_a_damaged_list_of_what_serves(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    now = [0.0]
    running = new_book(shelf, clock=lambda: now[0])
    shelf.list_path.write_text("{")
    stream = new_stream(running)
    now[0] = 5.0
    made = stream.feed(TEST[:50])
    assert not any(UNUSABLE in codes for codes in made.degraded), "what serves goes on"
    assert "serving.json" in running.trouble
    assert np.isfinite(column(made, LEARNED)).all()
    started = new_book(shelf)
    assert all(UNUSABLE in codes for codes in new_stream(started).feed(TEST[:50]).degraded)


def test_a_model_that_fails_never_fails_the_event(caplog: pytest.LogCaptureFixture) -> None:
    """Its trees look at an input that it does not name, which no file can hold."""
    model = trained(1)
    short = View(model.told.names[:1], model.told.trees)
    broken = LearnedModel(short, replace(short, names=model.untold.names[:1]), np.inf)
    book = ModelBook()
    scorers = new_stream().assessor.names
    book.active = Active(Ready("broken.1", Evaluator(broken, SCHEMA.names, scorers)))
    stream = new_stream(book)
    with caplog.at_level(logging.ERROR):
        made = cut(stream, TEST[:60], 20)
    assert np.array_equal(made.score, new_stream().feed(TEST[:60]).score)
    assert all(UNUSABLE in codes for codes in made.degraded)
    assert len(caplog.records) == 1
    assert "broken.1" in book.trouble


# -- the challenger


def test_the_challenger_is_scored_and_counts_for_nothing(shelf: Shelf, one: Placed, two: Placed) -> None:
    shelf.serve(Serving(one))
    alone = new_stream(new_book(shelf)).feed(TEST)
    shelf.serve(Serving(one, two))
    beside = new_stream(new_book(shelf)).feed(TEST)
    assert np.array_equal(alone.score, beside.score)
    assert list(alone.reasons) == list(beside.reasons)
    shelf.serve(Serving(two))
    assert np.array_equal(column(beside, CHALLENGER), column(new_stream(new_book(shelf)).feed(TEST), LEARNED))
    shelf.serve(Serving(None, two))
    shadow = new_stream(new_book(shelf)).feed(TEST)
    plain = new_stream().feed(TEST)
    assert np.array_equal(shadow.score, plain.score)
    assert np.array_equal(shadow.level, plain.level)
    assert np.array_equal(column(shadow, CHALLENGER), column(beside, CHALLENGER))
    assessment = beside.assessment(0)
    assert assessment.scores[CHALLENGER] == column(beside, CHALLENGER)[0]
    assert assessment.versions.scorers[CHALLENGER] == two.id


def test_what_models_say_is_no_input_of_models(shelf: Shelf, one: Placed, two: Placed) -> None:
    shelf.serve(Serving(one, two))
    stream = new_stream(new_book(shelf))
    assert not {f"scorer.{name}" for name in OF_MODELS} & set(
        Inputs.candidates(SCHEMA.names, stream.assessor.names).names
    )
    served, plain = stream.feed(TEST), new_stream().feed(TEST)
    tables = []
    for made in (served, plain):
        builder = TableBuilder(SCHEMA, made.scorer_names, np.ones(len(made), np.bool_), KINDS)
        builder.keep(made, np.arange(len(made)))
        tables.append(builder.table(np.zeros(len(made), np.int8)))
    assert not set(OF_MODELS) & set(tables[0].scorer_names)
    assert np.array_equal(tables[0].scores, tables[1].scores, equal_nan=True)
