"""What changed, for those who wait for it: one look at the stores' counters every quarter of a second wakes every subscriber."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from ringwatch.errors import RingwatchError

_EVERY_S = 0.25
log = logging.getLogger(__name__)


class Feed:
    """On the event loop. `heads`: counters that rise with every change, by name. Looks only while somebody waits."""

    def __init__(self, heads: dict[str, Callable[[], int]], *, every_s: float = _EVERY_S) -> None:
        self._heads, self._every_s = heads, every_s
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {name: [] for name in heads}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Whoever waits is told that nothing comes any more: its wait is cancelled."""
        if self._task is not None:
            self._task.cancel()
        for waiting in self._waiting.values():
            for future in waiting:
                future.cancel()

    async def head(self, name: str) -> int:
        """The newest change there is."""
        return await run_in_threadpool(self._heads[name])

    async def changed(self, name: str, after: int) -> None:
        """Returns once there is a change after that one. A change that is missed is none that is lost: ask the store."""
        if self._seen.get(name, -1) > after:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[name].append(future)
        try:
            await future
        finally:
            if future in self._waiting[name]:
                self._waiting[name].remove(future)

    async def _run(self) -> None:
        while True:
            for name in [name for name, waiting in self._waiting.items() if waiting]:
                try:
                    found = await self.head(name)
                except RingwatchError as error:
                    log.warning("changes of %s cannot be read: %s", name, error.message)
                    continue
                if found > self._seen.get(name, -1):
                    self._seen[name] = found
                    waiting, self._waiting[name] = self._waiting[name], []
                    for future in waiting:
                        if not future.done():
                            future.set_result(None)
            await asyncio.sleep(self._every_s)
