"""A model's graph network while the model serves: it says what training computed, knows when it knows too little, and can be left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.models import SCHEMA, column, cut, new_book, new_stream, put, same, shop, silence_of
from support.networks import Written, gnn, joined, offline, until

from ingest.stream import ScoringStream
from ringwatch.errors import RingwatchError, Unavailable
from ringwatch.model import Event, Label, Level
from scorers.decision import Decisions
from scorers.learned.again import again
from scorers.learned.book import LABELS_STALE
from scorers.learned.inputs import CHALLENGER, LEARNED, MODELS, NETWORKS
from scorers.learned.live_network import LiveNetwork
from scorers.learned.model import Evaluator, LearnedModel, margin_of, probability
from scorers.learned.served_network import FAILED, OFF, WARM_US, WARMING
from scorers.learned.shelf import Placed, Serving, Shelf

ITEMS = shop(400, 5, labels_until=200)
NETWORK, BESIDE = NETWORKS


@pytest.fixture
def model_of() -> Callable[[int], LearnedModel]:
    return joined


def from_the_start(shelf: Shelf, **more: object) -> ScoringStream:
    """The folder is new: nothing was scored before."""
    book = new_book(shelf, **more)
    book.past = Written()
    return new_stream(book)


def margins(made: Decisions, name: str = NETWORK) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return margin_of(column(made, name))


def trees_alone(made: Decisions, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    evaluator = Evaluator(joined(seed), SCHEMA.names, made.scorer_names)
    nothing = np.full(len(made), np.nan)
    return probability(evaluator.margin(made.features, made.scores, silence_of(made), nothing))


# -- what it says


def test_a_stored_probability_gives_the_margin_back() -> None:
    margin = np.random.default_rng(1).normal(scale=4.0, size=100_000).astype(np.float32).astype(np.float64)
    assert np.array_equal(margin_of(probability(margin)), margin)
    assert margin_of(np.array([0.0, 0.5, 1.0])).tolist() == [-20.0, 0.0, 20.0]
    assert np.isnan(margin_of(np.array([np.nan]))).all()


@pytest.mark.parametrize("size", [1, 7, 40])
def test_what_serves_says_what_was_trained(shelf: Shelf, one: Placed, two: Placed, size: int) -> None:
    shelf.serve(Serving(one, two))
    made = cut(from_the_start(shelf), ITEMS, size)
    for seed, name, of_network in ((1, LEARNED, NETWORK), (2, CHALLENGER, BESIDE)):
        wanted = offline(gnn(seed=seed), ITEMS)
        assert np.array_equal(margins(made, of_network), wanted)
        evaluator = Evaluator(joined(seed), SCHEMA.names, made.scorer_names)
        whole = probability(evaluator.margin(made.features, made.scores, silence_of(made), wanted))
        assert np.array_equal(column(made, name), whole)
    assert not any("network" in code for codes in made.degraded for code in codes)
    assert any(LABELS_STALE in codes for codes in made.degraded), "both views are asked"
    assert made.embedding_age_s[0] is None
    assert sum(age_s is not None and age_s > 600.0 for age_s in made.embedding_age_s) > 300
    assert made.assessment(399).embedding_age_s == made.embedding_age_s[399]
    assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)


def test_reasons_name_it_and_add_up(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    made = from_the_start(shelf).feed(ITEMS)
    explained = np.flatnonzero(made.level >= Level.MEDIUM).tolist()
    for row in explained:
        assert sum(r.contribution for r in made.reasons[row]) == pytest.approx(float(made.score[row]), abs=1e-9)
    named = [r for row in explained for r in made.reasons[row] if r.code == "learned.graph_network"]
    assert named
    assert named[0].text.startswith("graph network: its entities and what happened to them say 0.")


def test_a_look_is_answered_by_trees_alone_and_changes_nothing(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    stream, other = from_the_start(shelf), from_the_start(shelf)
    before = stream.feed(ITEMS[:300])
    looked = stream.look([x for _, x in ITEMS[300:330] if isinstance(x, Event)])
    assert all(OFF in codes for codes in looked.degraded)
    assert np.isnan(column(looked, NETWORK)).all()
    assert looked.assessment(0).embedding_age_s is None
    whole = other.feed(ITEMS)
    assert same(Decisions.concatenate([before, stream.feed(ITEMS[300:])]), whole)


def test_where_the_stream_is_not_whole_it_stays_out(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    made = from_the_start(shelf, networks=False).feed(ITEMS)
    assert all(OFF in codes for codes in made.degraded)
    assert np.array_equal(column(made, LEARNED), trees_alone(made))
    assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)


def test_a_view_that_does_not_weigh_it_lacks_nothing(shelf: Shelf, tmp_path: Path) -> None:
    model = replace(joined(1), told=replace(joined(1).told, network=0.0, alone=None))
    shelf.serve(Serving(put(shelf, "half", model, tmp_path)))
    made = from_the_start(shelf, networks=False).feed(ITEMS)
    assert [OFF in codes for codes in made.degraded] == [LABELS_STALE in codes for codes in made.degraded]


def test_one_that_fails_leaves_trees_answering(
    shelf: Shelf, one: Placed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.serve(Serving(one))
    stream = from_the_start(shelf)
    before = stream.feed(ITEMS[:300])

    def fail(self: LiveNetwork, items: object) -> None:
        raise ValueError("a book is torn")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(LiveNetwork, "take", fail)
        during = stream.feed(ITEMS[300:400])
    after = stream.feed(ITEMS[400:])
    made = Decisions.concatenate([before, during, after])
    assert [FAILED in codes for codes in made.degraded] == [False] * len(before) + [True] * (len(made) - len(before))
    assert np.array_equal(column(made, LEARNED)[len(before) :], trees_alone(made)[len(before) :])
    assert "a book is torn" in stream.assessor.book.trouble
    assert len(caplog.records) == 1
    assert not any(name.startswith("networks/") for name in stream.assessor.dump()), "it is warmed anew after a restart"
    assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)


# -- warming


def warmed(stream: ScoringStream, past: Written, items: Sequence[tuple[int, object]], size: int = 5) -> list[Decisions]:
    """The stream goes on, written down a batch late, until its network is asked."""
    made: list[Decisions] = []
    late: Sequence[tuple[int, object]] = ()
    for start in range(0, len(items), size):
        made.append(stream.feed(items[start : start + size]))  # type: ignore[arg-type]
        past.add(late)  # type: ignore[arg-type]
        late = items[start : start + size]
        ready = stream.assessor.book.active.champion
        if ready is not None and ready.network is not None and (warming := ready.network._warming) is not None:
            until(lambda w=warming: w._keeps or w._done)  # type: ignore[misc]
            if start > 40 * size:
                past.add(late)
                late = ()
                until(lambda w=warming: w._done)  # type: ignore[misc]
    return made


def test_a_model_that_takes_over_warms_behind_the_scoring_and_misses_nothing(
    shelf: Shelf, one: Placed, two: Placed
) -> None:
    shelf.serve(Serving(one))
    now = [0.0]
    book = new_book(shelf, clock=lambda: now[0])
    book.past = past = Written()
    stream = new_stream(book)
    before = stream.feed(ITEMS[:150])
    past.add(ITEMS[:150])
    shelf.serve(Serving(two, one))
    now[0] = 5.0
    first = stream.feed(ITEMS[150:155])
    held = {name.split("/")[1] for name in stream.assessor.dump() if name.startswith("networks/")}
    assert held == {one.id}, "what is not warm yet is warmed anew after a restart"
    past.add(ITEMS[150:155])
    made = Decisions.concatenate([first, *warmed(stream, past, ITEMS[155:])])
    cold = np.array([WARMING in codes for codes in made.degraded])
    assert cold[0]
    assert not cold[-1]
    assert sorted(cold.tolist(), reverse=True) == cold.tolist(), "once it is asked it stays"
    wanted = offline(gnn(seed=2), ITEMS)[len(before) :]
    assert np.array_equal(margins(made)[~cold], wanted[~cold]), "nothing was lost, nothing came twice"
    assert np.isnan(margins(made)[cold]).all()
    of_one = offline(gnn(seed=1), ITEMS)[len(before) :]
    assert np.array_equal(margins(made, BESIDE), of_one), "who was champion goes on knowing what it knew"
    evaluator = Evaluator(joined(2), SCHEMA.names, made.scorer_names)
    whole = Decisions.concatenate([before, made])
    heard = silence_of(whole)[len(before) :]
    expected = probability(evaluator.margin(made.features, made.scores, heard, np.where(cold, np.nan, wanted)))
    assert np.array_equal(column(made, LEARNED), expected)
    assert np.array_equal(again(whole, shelf), whole.scores_of(MODELS), equal_nan=True)
    book.close()


class Away(Written):
    """A past that cannot be read at first."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def last_seq(self) -> int:
        if self.refused < 2:
            self.refused += 1
            raise Unavailable("the ledger is away", hint="wait", retry_after_s=1.0)
        return super().last_seq()

    def replay(self, *, after_seq: int, chunk: int = 20) -> Iterator[Sequence[tuple[int, Event | Label]]]:
        if self.refused < 2:
            raise Unavailable("the ledger is away", hint="wait", retry_after_s=1.0)
        yield from super().replay(after_seq=after_seq, chunk=chunk)


def test_a_past_that_is_away_is_asked_again(shelf: Shelf, one: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorers.learned.served_network._AGAIN_S", 0.01)
    shelf.serve(Serving(one))
    book = new_book(shelf)
    book.past = past = Away()
    made = Decisions.concatenate(warmed(new_stream(book), past, ITEMS))
    cold = np.array([WARMING in codes for codes in made.degraded])
    assert cold[0]
    assert not cold[-1]
    assert np.array_equal(margins(made)[~cold], offline(gnn(), ITEMS)[~cold])
    book.close()


class Broken(Written):
    def last_seq(self) -> int:
        raise RingwatchError("nothing like a ledger", hint="none")


def test_one_that_cannot_be_warmed_is_left_out(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    book = new_book(shelf)
    book.past = Broken(ITEMS[:10])
    stream = new_stream(book)
    stream.feed(ITEMS[50:60])
    network = book.active.champion.network  # type: ignore[union-attr]
    until(lambda: network._warming is None or network._warming._done)  # type: ignore[union-attr]
    made = stream.feed(ITEMS[60:80])
    assert all(FAILED in codes for codes in made.degraded)
    assert "nothing like a ledger" in book.trouble


@pytest.mark.parametrize("size", [1, 7, 900])
def test_without_a_past_the_stream_warms_it(shelf: Shelf, one: Placed, size: int) -> None:
    shelf.serve(Serving(one))
    items = shop(900, 5)
    made = cut(new_stream(new_book(shelf)), items, size)
    at_us = np.array([e.at_us for e in made.events])
    cold = at_us < at_us[0] + WARM_US
    assert 100 < cold.sum() < 800
    assert [WARMING in codes for codes in made.degraded] == cold.tolist()
    assert np.array_equal(margins(made)[~cold], offline(gnn(), items)[~cold])
    assert {age_s for age_s, c in zip(made.embedding_age_s, cold, strict=True) if c} == {None}


def test_as_many_events_as_it_remembers_warm_it_too(shelf: Shelf, tmp_path: Path) -> None:
    shelf.serve(Serving(put(shelf, "short", joined(1, memory=100), tmp_path)))
    book = new_book(shelf)
    stream = new_stream(book)
    first = stream.feed(ITEMS[:30])
    assert book.described["champion"].endswith(f" ({WARMING})")
    made = Decisions.concatenate([first, cut(stream, ITEMS[30:], 30)])
    assert [WARMING in codes for codes in made.degraded] == [True] * 100 + [False] * 300
    assert "(" not in book.described["champion"]


# -- keeping


def test_it_goes_on_with_the_same_bits_after_a_dump(shelf: Shelf, one: Placed, two: Placed) -> None:
    shelf.serve(Serving(one, two))
    whole = from_the_start(shelf).feed(ITEMS)
    first = from_the_start(shelf)
    before = first.feed(ITEMS[:301])
    dumped = first.assessor.dump()
    assert {name.split("/")[1] for name in dumped if name.startswith("networks/")} == {one.id, two.id}
    second = new_stream(new_book(shelf))
    second.assessor.load({name: array.copy() for name, array in dumped.items()})
    second.resume(first.watermark_us, first.pending)
    after = [x for x in ITEMS[301:] if isinstance(x[1], Event)]
    names = ["network", "challenger_network"]
    found = second.feed(after).scores_of(names)[:20]
    assert np.array_equal(found, whole.scores_of(names)[len(before) :][:20])
    spoilt = {name: array[:3] if name.endswith("/rows") else array for name, array in dumped.items()}
    third = new_stream(new_book(shelf))
    third.assessor.load(spoilt)
    assert all(WARMING in codes for codes in third.feed(ITEMS[301:310]).degraded), "what cannot be read is warmed anew"


def test_the_service_remembers_and_tells_the_age(shelf: Shelf, one: Placed, tmp_path: Path) -> None:
    """Snapshots are forked, the process restarts; the ledger has what was said and how old what it was said from is."""
    from ingest.source import Chunk
    from ringwatch.settings import Settings
    from ringwatch.wiring import open_service

    shelf.serve(Serving(one))
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=shelf.folder, graph_url="none:", snapshot_interval_s=0.001
    )
    items = [item if isinstance(item, Event) else item.label for _, item in ITEMS]
    for start in range(0, len(items), 200):
        service = open_service(settings)
        for at in range(start, min(start + 200, len(items)), 50):
            part = items[at : at + 50]
            service.pipeline.process(Chunk(part, list(range(at, at + len(part))), None), "test")
        assert not service.pipeline.tally.snapshot_trouble
        if start == 200:
            service.pipeline.checkpoint = lambda: None  # type: ignore[method-assign]
        service.close()
    service = open_service(settings)
    stored = [s.assessment for done in service.pipeline.ledger.iterate(chunk=500) for _, s in done]
    service.close()
    whole = from_the_start(shelf).feed(ITEMS)
    assert [a.scores[NETWORK] for a in stored] == column(whole, NETWORK).tolist()
    assert [a.scores[LEARNED] for a in stored] == column(whole, LEARNED).tolist()
    assert [a.embedding_age_s for a in stored] == list(whole.embedding_age_s)
    assert not any("network" in code for a in stored for code in a.degraded)


def test_the_services_ledger_warms_what_is_promoted_while_it_runs(shelf: Shelf, one: Placed, tmp_path: Path) -> None:
    from ingest.source import Chunk
    from ringwatch.settings import Settings
    from ringwatch.wiring import open_service

    settings = Settings(data_dir=tmp_path / "data", models_dir=shelf.folder, graph_url="none:")
    items = [item if isinstance(item, Event) else item.label for _, item in ITEMS]
    service = open_service(settings)
    book, made = service.pipeline.stream.assessor.book, []

    def feed(start: int, stop: int) -> None:
        taken = service.pipeline.take(Chunk(items[start:stop], list(range(start, stop)), None), "test")
        made.append(taken.decisions)

    feed(0, 300)
    shelf.serve(Serving(one))
    book._due = 0.0
    book.refresh()
    until(lambda: book._loading is None or not book._loading.is_alive())
    for start in range(300, 600, 5):
        feed(start, start + 5)
        champion = book.active.champion
        assert champion is not None
        assert champion.network is not None
        if (warming := champion.network._warming) is not None:
            until(lambda w=warming, after=start >= 320: w._done if after else w._keeps)  # type: ignore[misc]
    service.close()
    whole = Decisions.concatenate(made)
    cold = np.isnan(column(whole, NETWORK))
    assert [WARMING in codes for codes in whole.degraded] == (cold & ~np.isnan(column(whole, LEARNED))).tolist()
    assert 150 < cold.sum() < 190
    assert not cold[-150:].any()
    assert np.array_equal(margins(whole)[~cold], offline(gnn(), ITEMS)[~cold])
