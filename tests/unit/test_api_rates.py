"""Rate limits of one process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.served import event, in_process

from api.keys import Caller
from api.rates import LocalRates, Rate
from ringwatch.errors import Unavailable

ANNA, BEN = Caller("acme", key_id="1"), Caller("acme", key_id="2")


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_of(rates: LocalRates, who: Caller) -> float:
    try:
        asyncio.run(rates.take(who))
    except Unavailable as refused:
        return refused.retry_after_s if refused.context["code"] == "too_many" else -1.0
    return 0.0


def test_a_burst_then_the_rate_each_caller_for_itself() -> None:
    now = Time()
    rates = LocalRates(Rate(2.0, 3), now)
    assert [wait_of(rates, ANNA) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])
    assert wait_of(rates, BEN) == 0
    assert wait_of(rates, Caller("globex", key_id="1")) == 0
    now.now += 0.5
    assert [wait_of(rates, ANNA) for _ in range(2)] == pytest.approx([0, 0.5])
    now.now += 100
    assert [wait_of(rates, ANNA) for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.1, 50), st.integers(1, 5))
def test_no_stretch_of_time_has_more_than_burst_and_rate_and_who_waits_is_taken(
    pauses: list[float], per_s: float, burst: int
) -> None:
    now, taken = Time(), []
    rates = LocalRates(Rate(per_s, burst), now)
    for pause in pauses:
        now.now += pause
        if wait_s := wait_of(rates, ANNA):
            now.now += wait_s + 1e-6
            assert wait_of(rates, ANNA) == 0
        taken.append(now.now)
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= burst + (taken[j] - first) * per_s + 1e-3


def test_too_many_are_told_when_to_come_again(tmp_path: Path) -> None:
    with in_process(tmp_path / "data", rate_per_s=0.01, rate_burst=3) as client:
        keys = client.here.access.keys  # type: ignore[attr-defined]
        one, other = ({"x-api-key": keys.create("acme", name, (), role="service")[1]} for name in ("one", "other"))
        statuses = [client.post("/v1/score", json=event(n), headers=one).status_code for n in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = client.post("/v1/score", json=event(5), headers=one)
        assert refused.json()["code"] == "too_many"
        assert 90 < int(refused.headers["retry-after"]) <= 100
        assert client.post("/v1/score", json=event(6), headers=other).status_code == 200
        assert client.get("/readyz", headers=one).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_without_a_rate_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with in_process(tmp_path / "data") as client:
        assert client.here.access.rates is None  # type: ignore[attr-defined]
