"""Progress on standard error: bars with rate and ETA in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from ingest.tally import Tally

_LINE_EVERY_S = 15.0


class CountBar:
    """A bar over a known total."""

    def __init__(self, console: Console, title: str, *, quiet: bool) -> None:
        self._console, self._title, self._quiet = console, title, quiet
        self._bar = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[words]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True,
            disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=1.0, words="")
        self._started = self._said = monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self._bar.stop()

    def show(self, done: int, total: int) -> None:
        rate = done / max(1e-9, monotonic() - self._started)
        self.update(done / total if total else None, f"{done:,} ({rate:,.0f}/s)")

    def update(self, share: float | None, words: str) -> None:
        self._bar.update(self._task, completed=share or 0.0, total=None if share is None else 1.0, words=words)
        if not self._console.is_terminal and not self._quiet and monotonic() - self._said > _LINE_EVERY_S:
            self._said = monotonic()
            percent = "" if share is None else f"{share:.0%} "
            self._console.print(f"{self._title}: {percent}{words}", soft_wrap=True, highlight=False)


class IngestBar(CountBar):
    """The bar of an ingest: events, rate, alerts and refusals."""

    def __init__(self, console: Console, name: str, *, quiet: bool) -> None:
        super().__init__(console, "ingest", quiet=quiet)

    def show(self, tally: Tally) -> None:  # type: ignore[override]
        rate = tally.events / max(1e-9, tally.seconds)
        alerts = sum(tally.alerts.values())
        refused = f", {tally.refusals:,} refused" if tally.refusals else ""
        self.update(tally.done, f"{tally.events:,} events ({rate:,.0f}/s), {alerts:,} alerts{refused}")
