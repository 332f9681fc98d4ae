"""Rate limits in Redis: several processes count together, and none waits for it while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from api.keys import Caller
from api.rates import Rate
from api.redis_rates import RedisRates
from features.redis_wire import Access
from ringwatch.errors import Unavailable
from servers.launcher import Servers

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def servers(own_servers: Callable[..., Servers]) -> Servers:
    return own_servers("redis")


def rates(servers: Servers, rate: Rate) -> RedisRates:
    password = Path(servers.settings["RINGWATCH_REDIS_PASSWORD_FILE"]).read_text().strip()
    return RedisRates(rate, Access(servers.settings["RINGWATCH_STATE_URL"], password=password))


async def wait_of(rates: RedisRates, who: Caller) -> float:
    try:
        await rates.take(who)
    except Unavailable as refused:
        return refused.retry_after_s
    return 0.0


def test_processes_count_together_and_callers_apart(servers: Servers) -> None:
    async def main() -> None:
        both = [rates(servers, Rate(0.1, 40)) for _ in range(2)]
        waits = await asyncio.gather(*(wait_of(both[n % 2], Caller("acme", key_id="k")) for n in range(100)))
        assert sum(wait == 0 for wait in waits) == 40
        assert all(9 < wait <= 10 for wait in waits if wait)
        assert await wait_of(both[0], Caller("globex", key_id="k")) == 0
        assert not any(one.trouble for one in both)
        for one in both:
            await one.close()

    asyncio.run(main())


def test_a_bucket_fills_again(servers: Servers) -> None:
    async def main() -> None:
        one, who = rates(servers, Rate(20.0, 2)), Caller("acme", subject="fills")
        assert [await wait_of(one, who) > 0 for _ in range(3)] == [False, False, True]
        await asyncio.sleep(0.12)
        assert await wait_of(one, who) == 0
        await one.close()

    asyncio.run(main())


def test_while_it_is_away_each_process_limits_by_itself_and_nobody_waits(servers: Servers) -> None:
    async def main() -> None:
        one, who = rates(servers, Rate(0.1, 3)), Caller("acme", key_id="away")
        assert await wait_of(one, who) == 0
        servers.kill("redis")
        began = time.perf_counter()
        waits = [await wait_of(one, who) for _ in range(200)]
        assert time.perf_counter() - began < 5
        assert [wait == 0 for wait in waits] == [True] * 3 + [False] * 197
        assert one.trouble
        servers.up(["redis"])
        for _ in range(100):
            await wait_of(one, Caller("acme", key_id="back"))
            if not one.trouble:
                break
            await asyncio.sleep(0.1)
        assert not one.trouble
        await one.close()

    asyncio.run(main())
