"""Looks whether the stores answer, so that readiness follows them also where nothing is read or written at the moment, and whether the
other roles come back from what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from time import monotonic, sleep

from ringwatch.begun import begun
from ringwatch.errors import RingwatchError, Unavailable
from roles.role import Role

Probe = Callable[[], object]
"""Raises what is wrong."""
ANSWER_S = 5.0
SILENT_S = 120.0
"""A role is back from a step within seconds; within 25 from a transaction that does not end, 75 from a store that takes no write."""
_EVERY_S, _NAP_S = 2.0, 0.25


class StoreWatch(Role):
    """`probes` by the name of the store. One that stands still may never answer: it is not asked again before it has. `others`: roles of
    this process that are looked after."""

    def __init__(self, probes: Mapping[str, Probe], others: Sequence[Role] = ()) -> None:
        super().__init__()
        self.name = "stores"
        self.others = others
        self._probes = probes
        self._asked: dict[str, Future[object]] = {}
        self._due = 0.0

    def open(self) -> None:
        """Nothing is held open."""

    def step(self) -> None:
        if monotonic() < self._due:
            sleep(_NAP_S)
            return
        away = [
            f"{role.name} has not come back from {role.doing} for over {SILENT_S:g} s"
            for role in self.others
            if role.silent_s() > SILENT_S
        ]
        for name, probe in self._probes.items():
            if name not in self._asked:
                self._asked[name] = begun(probe, f"probe of {name}")
        wait(self._asked.values(), ANSWER_S)
        for name, answer in list(self._asked.items()):
            if not answer.done():
                away.append(f"{name}: no answer within {ANSWER_S:g} s")
                continue
            del self._asked[name]
            try:
                answer.result()
            except RingwatchError as error:
                away.append(f"{name}: {error}")
        if away:
            raise Unavailable("; ".join(away), hint="it goes on by itself once they answer")
        self._due = monotonic() + _EVERY_S

    def close(self, *, drained: bool) -> None:
        """Nothing is held open."""
