"""Work that may never end: begun on a thread of its own, which the process does not wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def begun(work: Callable[[], T], name: str) -> Future[T]:
    """What comes of it; `result(seconds)` raises TimeoutError where that takes longer, and the work goes on. It cannot be cancelled: it is
    done when it has ended, whoever gave up on it."""
    coming: Future[T] = Future()
    coming.set_running_or_notify_cancel()

    def run() -> None:
        try:
            coming.set_result(work())
        except Exception as error:  # noqa: BLE001 - a top: it is raised where it is waited for
            coming.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return coming
