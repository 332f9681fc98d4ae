"""Buckets in Redis, for several processes that serve the same callers.

Requests that come while an answer is on its way are asked about together: one connection, one exchange at a time, and no request
waits for more than the one before its own and its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.keys import Caller
from api.rates import LocalRates, Rate, too_many
from features.redis_wire import Access
from ringwatch.seldom import Seldom

log = logging.getLogger(__name__)
log.addFilter(Seldom())
_TIMEOUT_S, _AGAIN_S, _MOST_AT_ONCE = 0.1, 1.0, 500
_Asked = tuple[Caller, "asyncio.Future[float | None]"]


class RedisRates:
    """While Redis is away each process limits by itself, and it is asked again once in a second: no request fails for it."""

    def __init__(self, rate: Rate, access: Access) -> None:
        """Nothing is asked yet."""
        self._script = (Path(__file__).parent / "take.lua").read_bytes()
        self._numbers = round(1e6 / rate.per_s), rate.burst
        files = {"ssl_ca_certs": access.ca_file, "ssl_certfile": access.cert_file, "ssl_keyfile": access.key_file}
        given: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
        self._redis: Any = Redis.from_url(
            access.url, username=access.username, password=access.password, socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0),
            **given,
        )  # fmt: skip
        self._local = LocalRates(rate)
        self._away_until_s = 0.0
        self._asked: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None
        self.trouble = ""

    async def take(self, who: Caller) -> None:
        wait_s = await self._ask(who) if time.monotonic() >= self._away_until_s else None
        if wait_s is None:
            await self._local.take(who)
        elif wait_s > 0:
            raise too_many(wait_s)

    async def _ask(self, who: Caller) -> float | None:
        """Seconds to wait; None where Redis does not say."""
        if self.trouble:
            self._away_until_s = time.monotonic() + _AGAIN_S  # one request finds out for all
        answer: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._asked.append((who, answer))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._exchange())
        return await answer

    async def _exchange(self) -> None:
        while self._asked:
            asked, self._asked = self._asked[:_MOST_AT_ONCE], self._asked[_MOST_AT_ONCE:]
            found: list[Any] = []
            try:
                async with asyncio.timeout(2 * _TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                    for who, _ in asked:
                        pipeline.eval(self._script, 1, _key(who), *self._numbers)
                    found = await pipeline.execute()
                self.trouble, self._away_until_s = "", 0.0
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until_s = time.monotonic() + _AGAIN_S
                self.trouble = f"each process limits by itself: Redis does not say ({type(error).__name__})"
                log.warning("%s", self.trouble)
            finally:
                for i, (_, answer) in enumerate(asked):
                    if not answer.done():
                        answer.set_result(found[i] / 1e6 if found else None)

    async def close(self) -> None:
        await self._redis.aclose()


def _key(who: Caller) -> str:
    """No name of a person stands in it."""
    name = f"{who.tenant}\0{who.name}".encode()
    return f"rw:rate:{blake2b(name, digest_size=16).hexdigest()}"
