"""What a graph network is built for: kinds, how much of each entity's past it sees, and when embeddings are refreshed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ringwatch.errors import BadInput, did_you_mean
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, TYPE_CODES

MARKS_US = (MINUTE_US, 10 * MINUTE_US, HOUR_US, 6 * HOUR_US, DAY_US)
EVENTS_A_MARK = 100
COMMON = ("amount", "no_amount", "failed", "outcome", "hour_sin", "hour_cos")
"""Inputs of every event."""
SLOT = ("present", "age", "gap", "count", "amount_over_own", "known")
"""Inputs of an event for each kind: is there an entity, log seconds since it was first (a week at most) and last seen, log of the
events before, fading over a week, log amount over its own mean, and the share of the event's other entities that are among its last
neighbours. None of them grows for as long as the stream runs: what is beyond all that was trained on means nothing."""
OWN = ("count", "age", "gap", "rate_hour", "rate_day", "rate_week")
"""Inputs of an entity as of its refresh: log of its events (20 at most), its ages as above, and logs of its fading counts."""
AGGREGATIONS = ("sage", "gatv2", "hgt")
TYPES = max(TYPE_CODES.values()) + 1


@dataclass(frozen=True, slots=True)
class Caps:
    """What is kept beside an entity: its last events, its last labelled events, its last distinct neighbours."""

    events: int = 12
    labelled: int = 8
    neighbours: int = 5


@dataclass(frozen=True, slots=True)
class GraphSchema:
    """Kinds in order, which of them are crowded (their events are thinned), caps, and the time between two marks.

    `later`: an embedding counts from so many marks after its own on, 0 or 1. With 1 there is the time between two marks to compute it in,
    so that no event waits for it. `memory`: how many events are remembered; of what was longer ago nothing is left, as if an entity that
    was not seen since were new."""

    kinds: tuple[str, ...]
    crowded: tuple[bool, ...]
    mark_us: int
    caps: Caps = Caps()
    later: int = 1
    memory: int = 1_000_000

    def __post_init__(self) -> None:
        if not self.kinds or len(self.kinds) != len(self.crowded) or len(set(self.kinds)) < len(self.kinds):
            raise BadInput(f"kinds {self.kinds} with crowded {self.crowded}", hint="name each kind once, with its flag")
        if self.mark_us <= 0 or min(self.caps.events, self.caps.labelled, self.caps.neighbours) < 1:
            raise BadInput(f"marks of {self.mark_us} us with {self.caps}", hint="all must be above 0")
        if self.memory < 1:
            raise BadInput(f"{self.memory} events are remembered", hint="one at least")
        if self.later not in (0, 1):
            raise BadInput(f"embeddings that count {self.later} marks later", hint="0 or 1 is known")

    @property
    def inputs(self) -> int:
        """Numbers an event has, besides its type."""
        return len(COMMON) + len(SLOT) * len(self.kinds)

    @property
    def names(self) -> tuple[str, ...]:
        return COMMON + tuple(f"{kind}.{name}" for kind in self.kinds for name in SLOT)

    @property
    def hash(self) -> str:
        """Of all that decides what the numbers mean."""
        text = json.dumps([asdict(self), self.names, OWN, sorted(TYPE_CODES.items())], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def document(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, object]) -> GraphSchema:
        """From what `document` gave."""
        try:
            caps = Caps(**document["caps"])  # type: ignore[arg-type]
            kinds, crowded = document["kinds"], document["crowded"]
            later, memory = int(document["later"]), int(document["memory"])  # type: ignore[call-overload]
            return cls(tuple(kinds), tuple(crowded), int(document["mark_us"]), caps, later, memory)  # type: ignore[arg-type, call-overload]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"a graph schema without or with a wrong {error}", hint="train the network anew") from error


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network. `dense`: features given by the caller, besides an event's own inputs."""

    kinds: int
    inputs: int
    events: int
    labelled: int
    dense: int = 0
    width: int = 32
    hidden: int = 64
    heads: int = 4
    aggregation: str = "sage"

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise BadInput(
                f"the aggregation is {self.aggregation!r}", hint=did_you_mean(str(self.aggregation), AGGREGATIONS)
            )

    @classmethod
    def of(cls, schema: GraphSchema, dense: int, aggregation: str) -> Shape:
        return cls(
            len(schema.kinds), schema.inputs, schema.caps.events, schema.caps.labelled, dense, aggregation=aggregation
        )

    @property
    def gathered(self) -> int:
        """Numbers that an aggregation gives."""
        return 2 * self.width if self.aggregation == "sage" else self.width

    @property
    def head_inputs(self) -> int:
        return self.kinds * (self.width + 2) + self.inputs + self.width + 2 * self.dense

    def document(self) -> dict[str, object]:
        return asdict(self)


def mark_interval_us(at_us: NDArray[np.int64], choices: Sequence[int] = MARKS_US) -> int:
    """The longest of `choices` between which at most 100 events fall, half of the time: told from the training events, times in
    order; the shortest where none is so short, or there is nothing to tell from."""
    fitting = [choices[0]]
    for interval in choices:
        if len(at_us):
            counts = np.unique(at_us // interval, return_counts=True)[1]
            if np.median(counts) <= EVENTS_A_MARK:
                fitting.append(interval)
    return max(fitting)
