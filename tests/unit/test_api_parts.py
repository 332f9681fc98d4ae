"""Parts of the API by themselves: the table of problems, meters, cursors, the queue."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import read_cursor, write_cursor
from api.engine import SLICE
from api.meters import Histogram, Meters, Window
from api.problems import CODES, KINDS, SAID, meaning_of, problem_of
from ringwatch import errors
from ringwatch.errors import BadInput, Corrupt, RingwatchError, ServerDenied, StoreAway, Unavailable


def kinds() -> list[type[RingwatchError]]:
    found = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RingwatchError)]
    return [c for c in found if c is not RingwatchError]


def test_the_table_has_every_kind_of_error_and_no_other() -> None:
    assert set(KINDS) == set(kinds())
    assert len({m.code for m in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_a_problem(kind: type[RingwatchError]) -> None:
    found = problem_of(kind("what", hint="next"))
    assert found.status == KINDS[kind].status
    assert found.title
    assert found.type == f"/docs#problem-{found.code if found.code in SAID else 'invalid'}"


def test_the_codes_are_explained() -> None:
    assert {*CODES, *(m.code for m in KINDS.values())} <= set(SAID)


@pytest.mark.parametrize("code", CODES)
def test_a_closer_code_has_its_status(code: str) -> None:
    assert meaning_of(BadInput("x", code=code)).status == CODES[code]


def test_a_problem_tells_nothing_of_the_inside() -> None:
    assert "ledger.sqlite" not in str(problem_of(Corrupt("ledger.sqlite: page 7", hint="ledger.sqlite")))
    denied = problem_of(ServerDenied("graph query at neo4j://h: no", hint="check RINGWATCH_NEO4J_PASSWORD_FILE"))
    assert (denied.status, denied.retry_after_s) == (503, 5.0)
    assert "neo4j" not in str(denied).lower()
    away = problem_of(StoreAway("Redis at 10.0.0.7:6379: no answer", hint="RINGWATCH_REDIS_URL", retry_after_s=2.0))
    assert (away.status, away.code, away.retry_after_s) == (503, "store_away", 2.0)
    assert "redis" not in str(away).lower()
    assert problem_of(Unavailable("x", retry_after_s=3.0)).retry_after_s == 3.0


def test_quantiles_are_within_five_percent() -> None:
    rng = random.Random(1)
    values = [rng.lognormvariate(0.0, 1.0) for _ in range(5000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for q in (0.1, 0.5, 0.99):
        found = histogram.quantile(q)
        assert found is not None
        assert float(np.quantile(values, q)) * 0.99 <= found <= float(np.quantile(values, q)) * 1.06
    assert histogram.at_most(1.0) == sum(v <= 1.0 for v in values)
    assert Histogram().quantile(0.5) is None


def test_the_window_forgets_after_a_minute() -> None:
    now = [0.0]
    window = Window(lambda: now[0])
    for _ in range(10):
        window.add(5.0)
        now[0] += 10.0
    assert window.merged().total == 5
    now[0] += 100.0
    assert window.merged().total == 0


def test_the_sla_counts_what_was_under_its_limit() -> None:
    meters = Meters(lambda: 0.0)
    for ms in (1.0, 49.9, 50.0, 80.0):
        meters.scored(ms)
    assert meters.sla()["share_under_limit"] == 0.5


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=40), st.lists(st.text(max_size=9), max_size=4))
def test_a_cursor_comes_back(at: int, alert_id: str, question: list[str]) -> None:
    assert read_cursor(write_cursor((at, alert_id), question), question) == (at, alert_id)


@given(st.text(max_size=80))
def test_no_other_text_is_a_cursor(text: str) -> None:
    try:
        assert read_cursor(text, []) is None or text
    except BadInput:
        return


def engine_over(folder: Any, **limits: Any) -> tuple[Any, Any]:
    from api.engine import Engine
    from ringwatch.settings import Settings
    from ringwatch.wiring import open_service

    service = open_service(Settings(data_dir=folder, max_entities=1000))
    return service, Engine(service.pipeline, Meters(lambda: 0.0), **{"capacity": 10, "deadline_s": 5.0, **limits})


def made(n: int) -> Any:
    from support.streams import payment

    return payment(n, 1_700_000_000_000_000 + n)


def test_a_full_queue_refuses_and_a_drained_one_answers_all(tmp_path: Any) -> None:
    service, engine = engine_over(tmp_path / "data")

    async def run() -> None:
        engine._loop = asyncio.get_running_loop()
        futures = [engine.submit([made(n)]) for n in range(10)]
        with pytest.raises(Unavailable, match="full"):
            engine.submit([made(99)])
        engine.start(asyncio.get_running_loop())
        stopping = asyncio.to_thread(engine.stop)
        works = await asyncio.gather(*futures, stopping)
        assert [w.outcomes[0].event_id for w in works[:-1]] == [f"e{n}" for n in range(10)]
        assert engine.depth == 0
        with pytest.raises(Unavailable):
            engine.submit([made(100)])

    asyncio.run(run())
    service.close()


def test_what_cannot_be_shown_ends_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from api import engine as engines

    monkeypatch.setattr(engines, "_GLANCE_S", 0.0)
    service, engine = engine_over(tmp_path / "data", deadline_s=30.0)

    def broken() -> dict[str, int]:
        raise RuntimeError("no figures")

    monkeypatch.setattr(service.pipeline, "stats", broken)

    async def run() -> None:
        engine.start(asyncio.get_running_loop())
        for n in range(3):
            assert (await engine.submit([made(n)])).outcomes[0].event_id == f"e{n}"
        assert engine.alive
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    service.close()


def test_a_passed_deadline_scores_nothing(tmp_path: Any) -> None:
    service, engine = engine_over(tmp_path / "data", deadline_s=-1.0)

    async def run() -> None:
        engine.start(asyncio.get_running_loop())
        work = await engine.submit([made(1)])
        assert isinstance(work.outcomes[0], Unavailable)
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    assert service.pipeline.outlets.ledger.counts()["assessments"] == 0
    service.close()


def test_a_big_request_is_cut_and_stays_in_order(tmp_path: Any) -> None:
    service, engine = engine_over(tmp_path / "data", capacity=1000)

    async def run() -> None:
        big = [made(n) for n in range(200)]
        engine._loop = asyncio.get_running_loop()
        first, second = engine.submit(big), engine.submit([made(500)])
        engine.start(asyncio.get_running_loop())
        done = await asyncio.gather(first, second)
        assert [o.event_id for o in done[0].outcomes] == [f"e{n}" for n in range(200)]
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    service.close()


@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_what_a_failing_ledger_did_not_take_is_not_acknowledged(tmp_path: Any, late_s: float) -> None:
    """The first slice of a big request is written, the next is not: each outcome is that of its own event."""
    service, engine = engine_over(tmp_path / "data", capacity=1000)
    ledger = service.pipeline.outlets.ledger
    write, read, calls = ledger.write, ledger.assessments, []

    def fails(*writes: Any) -> None:
        calls.append(writes)
        if len(calls) > 1:
            raise Unavailable("disk full")
        write(*writes)

    def slow(*args: Any) -> Any:
        time.sleep(late_s)
        return read(*args)

    ledger.write, ledger.assessments = fails, slow

    async def run() -> None:
        engine.start(asyncio.get_running_loop())
        outcomes = (await engine.submit([made(n) for n in range(SLICE * 5)])).outcomes
        taken = {n for n, outcome in enumerate(outcomes) if not isinstance(outcome, Unavailable)}
        assert taken == set(range(ledger.counts()["assessments"])), "slices that gathered share a transaction"
        assert 0 < len(taken) < SLICE * 5
        assert [outcomes[n].event_id for n in sorted(taken)] == [f"e{n}" for n in sorted(taken)]
        assert not engine.alive
        assert engine.depth == 0
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    ledger.close()
    service.folder.close()


def test_a_ledger_that_cannot_even_be_read_is_an_answer_too(tmp_path: Any) -> None:
    service, engine = engine_over(tmp_path / "data", capacity=1000)
    ledger = service.pipeline.outlets.ledger

    def fails(*_: Any) -> Any:
        raise RuntimeError("no connection left")

    ledger.write = ledger.assessments = fails

    async def run() -> None:
        engine.start(asyncio.get_running_loop())
        works = await asyncio.gather(*(engine.submit([made(n)]) for n in range(20)))
        assert all(isinstance(w.outcomes[0], Unavailable) for w in works)
        assert engine._thread.is_alive()
        assert engine.depth == 0
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    ledger.close()
    service.folder.close()


@pytest.mark.parametrize("written", [True, False])
def test_when_the_pipeline_fails_the_ledger_says_what_was_taken(tmp_path: Any, written: bool) -> None:
    service, engine = engine_over(tmp_path / "data")
    take = service.pipeline.take

    def fails(*args: Any) -> Any:
        if written:
            take(*args)
        raise Unavailable("the graph writer stopped")

    service.pipeline.take = fails

    async def run() -> None:
        engine.start(asyncio.get_running_loop())
        outcome = (await engine.submit([made(1)])).outcomes[0]
        if written:
            assert outcome.event_id == "e1"
            assert engine.alive
        else:
            assert isinstance(outcome, Unavailable)
            assert not engine.alive
            with pytest.raises(Unavailable):
                engine.submit([made(2)])
        await asyncio.to_thread(engine.stop)

    asyncio.run(run())
    service.close()
