"""Looks after the shared state: says that it is new when nothing was ever decided, and rebuilds it when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from features.redis_state import RedisState
from features.shared_state import StateLost
from roles.logs import DecisionsLog
from roles.rebuild import Replayed, rebuild
from roles.role import Role

_LOOK_S = 0.5


class StateKeeper(Role):
    """One in each process that scores; a claim in the store lets one of them do it."""

    def __init__(self, state: RedisState, log: DecisionsLog, replayed: Callable[[], Replayed], *, owner: str) -> None:
        super().__init__()
        self.name = "state-keeper"
        self._state = state
        self._log = log
        self._replayed = replayed
        self._owner = owner

    def open(self) -> None:
        """Nothing is held open."""

    def step(self) -> None:
        try:
            self._state.ready()
        except StateLost:
            self._restore()
        sleep(_LOOK_S)

    def _restore(self) -> None:
        if not any(self._log.ends().values()):
            self._state.initialise()
            return
        self.status.trouble = "the state was lost and is being rebuilt"
        if rebuild(self._state, self._log, self._replayed(), self._owner):
            self.status.counts["rebuilds"] += 1

    def close(self, *, drained: bool) -> None:
        """Nothing is held open."""
