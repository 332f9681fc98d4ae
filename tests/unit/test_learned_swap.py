"""Learned models while they serve: another takes over, labels stop coming, processes restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.models import SCHEMA, column, new_book, new_stream, put, shop, silence_of, spoil_file, trained

from ringwatch.errors import Corrupt
from ringwatch.model import DAY_US, Event
from scorers.decision import Decisions
from scorers.learned.again import again
from scorers.learned.book import LABELS_STALE, ModelBook
from scorers.learned.inputs import LEARNED, MODELS, OF_MODELS
from scorers.learned.model import Evaluator, probability
from scorers.learned.shelf import Placed, Serving, Shelf
from scorers.learned.silence import Silences

TEST = shop(500, 5)


# -- another model


def test_a_swap_loses_nothing_and_every_decision_can_be_made_again(shelf: Shelf, one: Placed, two: Placed) -> None:
    shelf.serve(Serving(one))
    now = [0.0]
    book = new_book(shelf, clock=lambda: now[0])
    stream = new_stream(book)
    items = shop(500, 5, labels_until=200)
    first = stream.feed(items[:350])
    shelf.serve(Serving(two, one))
    between = stream.feed(items[350:400])
    now[0] = 1.5
    last = stream.feed(items[400:])
    assert {v.scorers[LEARNED] for v in between.versions} == {one.id}
    assert {v.scorers[LEARNED] for v in last.versions} == {two.id}
    assert book.swaps == 2
    made = Decisions.concatenate([first, between, last])
    assert [e.event_id for e in made.events] == [x.event_id for _, x in items if isinstance(x, Event)]
    assert any(LABELS_STALE in codes for codes in made.degraded)
    assert np.array_equal(again(made, shelf), made.scores_of(MODELS), equal_nan=True)
    spoil_file(shelf, one)
    with pytest.raises(Corrupt, match="not the model"):
        again(made, shelf)


def test_the_rule_takes_over_from_a_champion_that_is_retired(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    now = [0.0]
    stream, plain = new_stream(new_book(shelf, clock=lambda: now[0])), new_stream()
    stream.feed(TEST[:350])
    plain.feed(TEST[:350])
    shelf.serve(Serving())
    now[0] = 1.5
    made, by_rule = stream.feed(TEST[350:]), plain.feed(TEST[350:])
    assert np.isnan(column(made, LEARNED)).all()
    assert np.array_equal(made.score, by_rule.score)
    assert made.reasons == by_rule.reasons


def test_a_swap_is_read_behind_the_scoring(shelf: Shelf, one: Placed, two: Placed) -> None:
    shelf.serve(Serving(one))
    now = [0.0]
    book = ModelBook(shelf, SCHEMA, new_stream().assessor.names[: -len(OF_MODELS)], clock=lambda: now[0])
    stream = new_stream(book)
    shelf.serve(Serving(two))
    seen: list[str] = []
    for at in range(0, 400, 4):
        now[0] += 1.0
        seen += [v.scorers[LEARNED] for v in stream.feed(TEST[at : at + 4]).versions]
        if seen[-1] == two.id:
            break
    reading = book._loading
    if reading is not None:
        reading.join()
    seen += [v.scorers[LEARNED] for v in stream.feed(TEST[400:]).versions]
    assert seen[0] == one.id
    assert seen[-1] == two.id
    assert sorted(set(seen)) == sorted({one.id, two.id})


# -- silence


def test_where_labels_stopped_the_view_without_them_answers(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    made = new_stream(new_book(shelf)).feed(shop(500, 5, labels_until=150))
    stale = silence_of(made) > trained(1).patience_s
    assert stale.any()
    assert not stale.all()
    assert [LABELS_STALE in codes for codes in made.degraded] == stale.tolist()
    untold = Evaluator(trained(1), SCHEMA.names, made.scorer_names)
    wanted = probability(untold.margin(made.features, made.scores, np.full(len(made), np.inf)))
    assert np.array_equal(column(made, LEARNED)[stale], wanted[stale])


def test_what_is_heard_survives_a_dump_and_a_look_changes_nothing(shelf: Shelf, one: Placed) -> None:
    shelf.serve(Serving(one))
    a = new_stream(new_book(shelf))
    a.feed(TEST[:600])
    before = a.assessor.dump()
    looked = a.look([x for _, x in TEST[600:700] if isinstance(x, Event)])
    assert np.isfinite(column(looked, LEARNED)).all()
    after = a.assessor.dump()
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)
    b = new_stream(new_book(shelf))
    assert not np.array_equal(b.assessor.dump()["silence/heard_s"], before["silence/heard_s"])
    b.assessor.load(before)
    assert np.array_equal(b.assessor.dump()["silence/heard_s"], before["silence/heard_s"])
    b.assessor.load(new_stream().assessor.dump())
    assert len(b.assessor.dump()["silence/heard_s"]) == 0


def test_labels_of_one_tenant_say_nothing_of_anothers() -> None:
    told, untold = shop(300, 3, tenant="told"), shop(300, 3, tenant="untold", labels_until=0)
    both = [(n, item) for n, (_, item) in enumerate(x for pair in zip(told, untold * 2, strict=False) for x in pair)]
    items = sorted(both, key=lambda x: x[1].at_us if isinstance(x[1], Event) else x[1].label.known_at_us)
    once = list(
        {(x.event_id if isinstance(x, Event) else x.label.target_id, type(x)): (n, x) for n, x in items}.values()
    )
    made = new_stream().feed(once)
    heard = Silences(SCHEMA).take(made.events, made.features, keep=True)
    of_told = np.array([e.tenant == "told" for e in made.events])
    assert np.isinf(heard[~of_told]).all()
    assert np.isfinite(heard[of_told][-50:]).all()


def test_other_processes_are_told_to_the_hour() -> None:
    made = new_stream().feed(TEST)
    whole, part = Silences(SCHEMA), Silences(SCHEMA)
    assert whole.model() == {}
    last = whole.take(made.events, made.features, keep=True)[-1]
    part.use(whole.model())
    told = part.take(made.events[-1:], made.features[:1] * np.nan, keep=False)[0]
    assert last <= told <= last + 3600.0
    part.use(Silences(SCHEMA).dump())
    assert part.take(made.events[-1:], made.features[:1] * np.nan, keep=False)[0] == told
    late = replace_time(made.events[-1], DAY_US)
    assert part.take([late], made.features[:1] * np.nan, keep=True)[0] == pytest.approx(told + 86_400.0)


def replace_time(event: Event, by_us: int) -> Event:
    import msgspec

    return msgspec.structs.replace(event, at_us=event.at_us + by_us)


def test_scorers_that_do_not_learn_are_told_what_the_keeper_heard() -> None:
    keeper, scorer = new_stream(), new_stream()
    keeper.feed(TEST)
    scorer.assessor.use(keeper.assessor.models())
    heard, told = (float(s.assessor.dump()["silence/heard_s"][0]) for s in (keeper, scorer))
    assert told <= heard < told + 3600.0


# -- with what other versions decided


def test_decisions_of_versions_with_other_scorers_are_joined_by_name() -> None:
    made = new_stream().feed(TEST[:40])
    older = replace(made.select(0, 10), scorer_names=made.scorer_names[:-4], scores=made.scores[:10, :-4])
    joined = Decisions.concatenate([older, made.select(10, len(made))])
    assert np.array_equal(joined.scores, made.scores, equal_nan=True)
    assert joined.assessment(0).scores[LEARNED] is None


# -- the service


def test_the_service_takes_what_serves_from_its_folder(tmp_path: Path) -> None:
    """Scores, restarts and goes on as if it had not; a look and the status say which model it is."""
    from api.engine import Glance
    from ingest.source import Chunk
    from ringwatch.model import BUILTIN_KINDS
    from ringwatch.settings import Settings
    from ringwatch.wiring import open_service, open_shelf, open_stream

    settings = Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "shared", graph_url="none:")
    shelf = open_shelf(settings)
    assert shelf.folder == tmp_path / "shared"
    assert open_shelf(Settings(data_dir=tmp_path)).folder == tmp_path / "models"
    shelf.serve(Serving(put(shelf, "one", trained(1), tmp_path)))
    items = [item if isinstance(item, Event) else item.label for _, item in shop(300, 5)]
    whole, scores = open_service(settings), []
    for start in (0, 300):
        service = whole if start == 0 else open_service(settings)
        part = items[start : start + 300]
        taken = service.pipeline.process(Chunk(part, list(range(start, start + len(part))), None), "test")
        scores += taken.decisions.score.tolist()
        assert Glance(service.pipeline, "", "").models["champion"].startswith("one.")
        assert service.pipeline.ledger.last_seq() > 0
        service.close()
    other = Settings(data_dir=tmp_path / "other", models_dir=tmp_path / "shared", graph_url="none:")
    service = open_service(other)
    wanted = service.pipeline.process(Chunk(items, list(range(len(items))), None), "test").decisions
    stored = [s for done in service.pipeline.ledger.iterate(chunk=500) for _, s in done]
    service.close()
    assert scores == wanted.score.tolist()
    assert stored[0].assessment.versions.scorers[LEARNED].startswith("one.")
    assert [s.assessment.scores[LEARNED] for s in stored] == column(wanted, LEARNED).tolist()
    backtested = open_stream(settings, SCHEMA)
    assert SCHEMA.kinds == BUILTIN_KINDS
    assert np.isnan(column(backtested.feed(TEST[:20]), LEARNED)).all(), "a backtest is of the rule, or trains its own"
    shelf.path("one").write_bytes(b"damaged")
    service = open_service(settings)
    glance = Glance(service.pipeline, "", "")
    service.close()
    assert "models" in glance.degraded
    assert any("cannot be used" in trouble for trouble in glance.troubles)
