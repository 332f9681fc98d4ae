"""A model's graph network over the stream that is scored: margins for the events of each batch, from what it keeps beside entities.

Who scores feeds it every batch, events and labels in the order in which the state took them in; the batches' sizes change nothing, and
the margins are those that training computed of the same stream. A label counts once the stream is past the time it became known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from gnn.history import FRAUD, GOOD, Labels
from gnn.intake import Intake, event_token
from gnn.kept import pack
from gnn.live import Live
from gnn.network import Gnn
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import MICROSECONDS

Arrays = dict[str, NDArray[Any]]


class Said(NamedTuple):
    """What the network says of the events of a batch."""

    margin: NDArray[np.float64]
    """(n,): log-odds of fraud to add to those of the trees."""
    age_s: NDArray[np.float64]
    """(n,): of the oldest embedding that was asked, from its mark to the event; NaN where none was."""
    hood: Callable[[int], bytes]
    """What it saw of one of the events (`gnn.kept.pack`), until the next batch."""


class LiveNetwork:
    """One stream, one caller at a time. Raises BadInput where the schema lacks a kind of the network's."""

    def __init__(self, gnn: Gnn, schema: FeatureSchema) -> None:
        if lacking := [kind for kind in gnn.schema.kinds if kind not in schema.kind_index]:
            raise BadInput(
                f"the model's graph network knows {', '.join(lacking)}, which is not among the kinds here",
                hint="serve it with the kinds it was trained with",
            )
        self._intake = Intake(schema, gnn.schema.kinds)
        self._live = Live(gnn)
        self._row: dict[int, int] = {}
        """Token of an event -> its row, for labels."""
        self._memory = gnn.schema.memory
        self._tidied = 0
        """Rows when what is forgotten was last let go."""
        self._waiting: list[tuple[int, int, int]] = []
        """(known_us, row, label) of labels that the stream is not past yet, in order."""

    @property
    def seen(self) -> int:
        """Events so far."""
        return self._live.book.used

    def settle(self) -> None:
        """Wait until nothing is being computed: `dump` waits for nothing then, and uses no thread."""
        self._live.settle()

    def take(self, items: Sequence[Applied]) -> Said:
        """Margins of the events among items, each by what was known before it; then they are remembered. Labels of what is no event,
        or of one that was never fed, say nothing to the network."""
        events = [item for item in items if not isinstance(item, ResolvedLabel)]
        batch = self._intake.batch(events)
        first = self._live.book.used
        self._row.update(zip(batch.token.tolist(), range(first, first + len(events)), strict=True))
        for item in items:
            if isinstance(item, ResolvedLabel) and item.label.target_kind == "event":
                row = self._row.get(event_token(item.label.tenant, item.label.target_id))
                if row is not None:
                    self._waiting.append((item.label.known_at_us, row, FRAUD if item.label.label == "fraud" else GOOD))
        self._waiting.sort()
        newest_us = int(batch.at_us.max(initial=np.iinfo(np.int64).min))
        due = sum(known_us < newest_us for known_us, _, _ in self._waiting)
        said = self._live.apply(batch, _labels(self._waiting[:due]))
        del self._waiting[:due]
        if self._live.book.used - self._tidied > self._memory // 4:
            self._tidy()
        age_us = said.age_us.max(axis=1, initial=-1)
        return Said(said.margin, np.where(age_us < 0, np.nan, age_us / MICROSECONDS), self._hood)

    def _hood(self, row: int) -> bytes:
        hood, met = self._live.hood(row)
        return pack(hood, self._intake.numbers.keys(met))

    def _tidy(self) -> None:
        """Let go of what is forgotten, so that this does not grow with the stream."""
        self._tidied = self._live.book.used
        oldest = self._tidied - self._memory
        self._row = {token: row for token, row in self._row.items() if row >= oldest}
        self._waiting = [(known_us, row, label) for known_us, row, label in self._waiting if row >= oldest]
        forgotten = self._live.book.forgotten()
        self._live.forget(forgotten)
        self._intake.numbers.drop(forgotten)

    def dump(self) -> Arrays:
        """All it keeps, for `load`."""
        return {
            **{f"live.{name}": array for name, array in self._live.dump().items()},
            **{f"numbers.{name}": array for name, array in self._intake.numbers.dump().items()},
            "tokens": np.fromiter(self._row.keys(), np.uint64, len(self._row)),
            "rows": np.fromiter(self._row.values(), np.int64, len(self._row)),
            "waiting": np.array(self._waiting, np.int64).reshape(-1, 3),
        }

    def load(self, arrays: Arrays) -> None:
        """Go on from what `dump` gave. Raises Corrupt where that is of another network, or incomplete."""
        try:
            self._live.load(_part(arrays, "live."))
            self._intake.numbers.load(_part(arrays, "numbers."))
            self._row = dict(zip(arrays["tokens"].tolist(), arrays["rows"].tolist(), strict=True))
            self._waiting = [(int(a), int(b), int(c)) for a, b, c in arrays["waiting"]]
            self._tidied = self._live.book.used
        except (KeyError, ValueError) as error:
            raise Corrupt(
                f"what the graph network remembers cannot be read: {error}", hint="rebuild it from the events"
            ) from error

    def close(self) -> None:
        """Ends its thread."""
        self._live.close()


def _labels(some: Sequence[tuple[int, int, int]]) -> Labels:
    known_us, row, value = np.array(some, np.int64).reshape(-1, 3).T
    return Labels(row, value.astype(np.int8), known_us)


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
