"""What the ring keeper's learners have learned, taken over by scorers that do not learn themselves."""

from __future__ import annotations

import io
import logging

import numpy as np

from features.redis_state import RedisState
from roles.role import Pace
from scorers.assess import Assessor

log = logging.getLogger("ringwatch.models")
_LOOK_S = 5.0


def write_models(state: RedisState, raw: bytes) -> None:
    state.wire.ask(b"SET", _key(state), raw)


def _key(state: RedisState) -> bytes:
    return f"{state.globals.prefix}:models".encode()


class Models:
    def __init__(self, state: RedisState, assessor: Assessor) -> None:
        self._state = state
        self._assessor = assessor
        self._pace = Pace(0.0)
        self._known = b""

    def refresh(self) -> None:
        """Take over a newer model, looked for now and then. Raises Unavailable."""
        if not self._pace.due():
            return
        self._pace = Pace(_LOOK_S)
        raw = self._state.wire.ask(b"GET", _key(self._state))
        if raw is None or raw == self._known:
            return
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            self._assessor.use({name: arrays[name] for name in arrays.files})
        self._known = raw
