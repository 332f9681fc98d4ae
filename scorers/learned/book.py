"""The models that serve, and the folder they come from: what is promoted is taken over while events are scored.

A model that cannot be used (gone, damaged, of other features) never stops the scoring: the robust rule stands in, decisions say so in
`degraded`, and `trouble` says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import FeatureSchema
from ringwatch.errors import RingwatchError
from scorers.file_stamp import Stamp, stamp_of
from scorers.learned.inputs import MODELS, NETWORKS
from scorers.learned.model import Evaluator, margin_of, probability
from scorers.learned.model_file import load
from scorers.learned.served_network import OFF, Answer, Numbered, Past, ServedNetwork, no_hood, not_asked, try_out
from scorers.learned.shelf import Placed, Serving, Shelf

log = logging.getLogger("ringwatch.models")
UNUSABLE, CHALLENGER_UNUSABLE = "model:unusable", "challenger:unusable"
"""In `degraded`: what was promoted could not be asked about the event."""
LABELS_STALE = "labels_stale"
"""In `degraded`, of the challenger with `challenger:` before it: labels have stopped coming, the view without them answered."""
NONE = "none"
"""Version of what is not asked."""
_EVERY_S, _AGAIN_S = 1.0, 10.0
"""How often serving.json is looked at, and what could not be used is tried again."""
Loaded = Mapping[Placed, "Ready"]


@dataclass(frozen=True, slots=True)
class Ready:
    """A model that can be asked."""

    id: str
    """Of `Placed`: what decisions name it by."""
    evaluator: Evaluator
    network: ServedNetwork | None = None
    """What its graph network knows of the stream; None where there is none, or it stays out."""


@dataclass(frozen=True, slots=True)
class Active:
    """What one batch is scored with."""

    champion: Ready | None = None
    challenger: Ready | None = None
    degraded: tuple[str, ...] = ()
    """Said of every event: what was promoted and cannot be used."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What models say of a batch."""

    champion: Ready | None
    scores: NDArray[np.float64]
    """(n, OF_MODELS): probabilities by champion and challenger, and by the network of each; NaN where there is none."""
    stale: NDArray[np.bool_]
    """(n,): where the champion did not look at labels, since they have stopped coming."""
    network: NDArray[np.float64]
    """(n,): margins of the champion's network; NaN where it was not asked."""
    age_s: NDArray[np.float64]
    """(n,): of the oldest embedding that either network was asked with; NaN where none was."""
    degraded: tuple[tuple[str, ...], ...]
    """One entry an event."""
    hood: Callable[[int], bytes] = no_hood
    """What the champion's network saw of an event, until the next batch is judged; empty where it was not asked."""


class ModelBook:
    """Models that may change while they serve. `active` is replaced whole; who holds one goes on with it.

    `refresh` is called between batches, by one thread. It looks at `serving.json` at most every `every_s` seconds; what is new is read and
    tried in the background, and counts from a later call on. A `serving.json` that cannot be read changes nothing but `trouble`.
    """

    def __init__(
        self, shelf: Shelf | None = None, schema: FeatureSchema | None = None, scorers: Sequence[str] = (), *,
        every_s: float = _EVERY_S, clock: Callable[[], float] = time.monotonic, in_background: bool = True, networks: bool = True,
    ) -> None:  # fmt: skip
        """`scorers`: names of the columns of scores. Without a shelf nothing ever serves. `networks`: graph networks of models are asked, which
        the whole stream is needed for. Reads what serves now; raises nothing."""
        self.active = Active()
        self.swaps = 0
        self._unusable = ""
        self._failed: dict[str, str] = {}
        """Of models that were asked in vain, by id."""
        self.past: Past | None = None
        """What networks are warmed by; looked at when a batch is judged."""
        self._begun = False
        self._networks = networks
        self._shelf, self._schema, self._scorers = shelf, schema, tuple(scorers)
        self._every_s, self._clock, self._due = every_s, clock, clock() + every_s
        self._again = 0.0
        self._stamp: Stamp | None = None
        self._loaded: dict[Placed, Ready] = {}
        self._in_background = in_background
        self._loading: _Loading | None = None
        if shelf is not None and schema is not None:
            self._stamp = stamp_of(shelf.list_path)
            first = _Loading(shelf, schema, self._scorers, {}, networks)
            first.run()
            self._take(first)
            if first.active is None:
                self.active = Active(degraded=(UNUSABLE,))

    @property
    def known(self) -> dict[str, str]:
        """What serves: champion and challenger, by id; `NONE` without."""
        ready = {"champion": self.active.champion, "challenger": self.active.challenger}
        return {role: NONE if one is None else one.id for role, one in ready.items()}

    @property
    def described(self) -> dict[str, str]:
        """`known` for people, with what keeps a network from answering."""
        states = {id_: network.state for id_, network in self._hearing.items() if network.state}
        return {role: f"{id_} ({states[id_]})" if id_ in states else id_ for role, id_ in self.known.items()}

    @property
    def trouble(self) -> str:
        """What cannot be used, and why; empty when all that was promoted serves."""
        asked = (self.active.champion, self.active.challenger)
        failed = [self._failed[one.id] for one in asked if one is not None and one.id in self._failed]
        failed += [
            f"the graph network of {one.id} was left out: {one.network.trouble}"
            for one in asked if one is not None and one.network is not None and one.network.trouble
        ]  # fmt: skip
        return "; ".join((*((self._unusable,) if self._unusable else ()), *failed))

    def refresh(self) -> bool:
        """Whether another model serves from now on. Never raises, and never waits for the files."""
        if self._shelf is None or self._schema is None:
            return False
        if self._loading is None and self._clock() >= self._due:
            self._due = self._clock() + self._every_s
            self._begin(self._shelf, self._schema)
        if self._loading is None or self._loading.is_alive():
            return False
        loading, self._loading = self._loading, None
        return self._take(loading)

    def judge(
        self, features: NDArray[np.float32], scores: NDArray[np.float64], silence_s: NDArray[np.float64],
        items: Sequence[Numbered] | None = None,
    ) -> Judged:  # fmt: skip
        """Of features (n, schema.size), scores (n, scorers), and seconds since a fraud was heard of (n,). Raises nothing for a model.
        `items`: what the state took in, the events and labels among them, for networks, which then remember it; None where the events
        are none of the stream."""
        active, n = self.active, len(features)
        found = np.full((n, len(MODELS) + len(NETWORKS)), np.nan)
        age_s, of_champion, stale = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.bool_)
        said: list[tuple[NDArray[np.bool_], str]] = []
        heard: dict[str, Answer] = {}
        hood: Callable[[int], bytes] = no_hood
        for column, (one, prefix, unusable) in enumerate(
            ((active.champion, "", UNUSABLE), (active.challenger, "challenger:", CHALLENGER_UNUSABLE))
        ):
            if one is None:
                continue
            margin = None
            if one.evaluator.model.network is not None:
                answer = heard[one.id] = heard.get(one.id) or self._hear(one, items, n)
                margin = margin_of(answer.prob)
                found[:, len(MODELS) + column] = answer.prob
                age_s = np.fmax(age_s, answer.age_s)
                said.append((one.evaluator.looks_at_network(silence_s) & np.isnan(margin), f"{prefix}{answer.why}"))
                of_champion, hood = (margin, answer.hood) if column == 0 else (of_champion, hood)
            found[:, column] = self._ask(one, features, scores, silence_s, margin)
            failed = np.isnan(found[:, column])
            silent = one.evaluator.stale(silence_s) & ~failed
            said += [(failed, unusable), (silent, f"{prefix}{LABELS_STALE}")]
            stale = silent if column == 0 else stale
        self._begun = self._begun or items is not None
        degraded = [active.degraded] * n
        for rows, code in said:
            for row in np.flatnonzero(rows).tolist():
                degraded[row] = (*degraded[row], code)
        return Judged(active.champion, found, stale, of_champion, age_s, tuple(degraded), hood)

    def _hear(self, one: Ready, items: Sequence[Numbered] | None, n: int) -> Answer:
        if items is None or one.network is None:
            return not_asked(n, OFF)
        return one.network.take(items, self.past, first=not self._begun)

    def _ask(
        self, one: Ready, features: NDArray[np.float32], scores: NDArray[np.float64], silence_s: NDArray[np.float64],
        network: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:  # fmt: skip
        try:
            return probability(one.evaluator.margin(features, scores, silence_s, network))
        except (RingwatchError, ArithmeticError, ValueError, IndexError) as error:
            if one.id not in self._failed:
                self._failed[one.id] = f"model {one.id} failed and was left out: {error}"
                log.error("%s", self._failed[one.id])
            return np.full(len(features), np.nan)

    # -- what networks remember

    @property
    def _hearing(self) -> dict[str, ServedNetwork]:
        asked = (self.active.champion, self.active.challenger)
        return {one.id: one.network for one in asked if one is not None and one.network is not None}

    def settle(self) -> None:
        """`dump` needs no other thread then."""
        for network in self._hearing.values():
            network.settle()

    def dump(self) -> dict[str, NDArray[Any]]:
        return {f"{id_}/{key}": a for id_, network in self._hearing.items() for key, a in network.dump().items()}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What `dump` gave, for the models that serve now; a network that it has nothing of is warmed anew."""
        for id_, network in self._hearing.items():
            mine = {key.removeprefix(f"{id_}/"): a for key, a in arrays.items() if key.startswith(f"{id_}/")}
            network.load(mine)

    def close(self) -> None:
        """Ends the threads of networks."""
        for network in self._hearing.values():
            network.close()

    def _begin(self, shelf: Shelf, schema: FeatureSchema) -> None:
        stamp = stamp_of(shelf.list_path)
        same = stamp == self._stamp and (stamp is not None or not shelf.list_path.exists())
        if same and not (self._unusable and self._clock() >= self._again):
            return
        self._stamp = stamp
        self._loading = _Loading(shelf, schema, self._scorers, self._loaded, self._networks)
        if self._in_background:
            self._loading.start()
        else:
            self._loading.run()

    def _take(self, loading: _Loading) -> bool:
        if loading.trouble and loading.trouble != self._unusable:
            log.warning("%s", loading.trouble)
        self._unusable, self._again = loading.trouble, self._clock() + _AGAIN_S
        if loading.active is None:
            return False
        before, self.active, self._loaded = self.active, loading.active, dict(loading.loaded)
        for one in (before.champion, before.challenger):
            if one is not None and one.network is not None and one not in self._loaded.values():
                one.network.stop()
        if before == self.active:
            return False
        self.swaps += 1
        log.info("models: champion %(champion)s, challenger %(challenger)s", self.known)
        return True


class _Loading(threading.Thread):
    """Reads models beside the scoring, which hashing and checking them would hold up."""

    def __init__(
        self, shelf: Shelf, schema: FeatureSchema, scorers: Sequence[str], before: Loaded, networks: bool
    ) -> None:
        super().__init__(name="models", daemon=True)
        self._networks = networks
        self._shelf, self._schema, self._scorers, self._before = shelf, schema, scorers, before
        self.active: Active | None = None
        """None where it is not known what is to serve."""
        self.loaded: Loaded = before
        self.trouble = f"{shelf.list_path} could not be read"

    def run(self) -> None:
        try:
            serving = self._shelf.serving()
        except RingwatchError as error:
            self.trouble = f"{error}; what serves goes on"
            return
        self._load(serving)

    def _load(self, serving: Serving) -> None:
        found: dict[Placed, Ready] = {}
        troubles, degraded = [], []
        for placed, role, code in (
            (serving.champion, "champion", UNUSABLE),
            (serving.challenger, "challenger", CHALLENGER_UNUSABLE),
        ):
            if placed is None:
                continue
            try:
                found[placed] = self._before.get(placed) or self._ready(placed)
            except Exception as error:  # noqa: BLE001 - a top: whatever a model does wrong, events are scored
                instead = "; the robust rule scores in its place" if role == "champion" else ""
                troubles.append(f"the {role} {placed.id} cannot be used: {error}{instead}")
                degraded.append(code)
        ready = [None if placed is None else found.get(placed) for placed in (serving.champion, serving.challenger)]
        self.loaded, self.trouble = found, "; ".join(troubles)
        self.active = Active(ready[0], ready[1], tuple(degraded))

    def _ready(self, placed: Placed) -> Ready:
        model, _ = load(self._shelf.model(placed), schema=self._schema.hash)
        evaluator = Evaluator(model, self._schema.names, self._scorers)
        nothing = np.full((2, self._schema.size), np.nan, np.float32), np.full((2, len(self._scorers)), np.nan)
        evaluator.margin(*nothing, np.array([0.0, np.inf]), np.zeros(2))
        evaluator.margin(*nothing, np.array([0.0, np.inf]), np.full(2, np.nan))
        for stale in (False, True):
            evaluator.explain(*nothing, stale=stale, network=np.zeros(2))
        if model.network is None or not self._networks:
            return Ready(placed.id, evaluator)
        try_out(model.network, self._schema)
        return Ready(placed.id, evaluator, ServedNetwork(model.network, self._schema))
