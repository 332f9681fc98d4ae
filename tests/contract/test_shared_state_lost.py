"""A shared state that is gone, or whose part of a tenant is, is lost and not new; one that just began is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from support.backends import Backend
from support.shared import TENANT, entries, forget, fresh_state, other, write
from support.streams import START_US, payment

from features.redis_state import RedisState
from features.redis_wire import Command, Wire
from features.shared_state import StateLost

pytestmark = pytest.mark.backends


@pytest.fixture
def state(redis_server: Backend) -> Iterator[RedisState]:
    with fresh_state(redis_server.url, password=redis_server.password) as state:
        yield state


def test_a_state_that_is_gone_is_lost_and_not_new(state: RedisState) -> None:
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    write(state, [payment(2, START_US)])
    pending = state.begin(TENANT, entries([payment(1, START_US)]))
    forget(state)
    with pytest.raises(StateLost):
        pending.commit([b"r"])
    with pytest.raises(StateLost, match="holds no state"):
        state.begin(TENANT, entries([payment(1, START_US)]))
    assert state.initialise()
    assert not state.initialise()
    write(state, [payment(1, START_US)])


def test_a_tenant_whose_part_is_gone_is_lost_and_not_new(state: RedisState) -> None:
    write(state, [payment(1, START_US)])
    state.begin(TENANT, entries([payment(2, START_US)]))
    assert state.tenants() == [TENANT]
    state.ready()
    forget(state, f"{{{TENANT}}}:")
    with pytest.raises(StateLost, match="tenant default"):
        state.ready()
    with pytest.raises(StateLost, match="tenant default"):
        state.begin(TENANT, entries([payment(2, START_US)]))
    assert state.begin("new", entries([payment(2, START_US)])).commit([b"r"])


def test_a_tenant_begun_by_another_while_it_was_read_is_not_lost(
    state: RedisState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one commits the tenant's first batch, and lists it, right after this one read that there is none."""
    exchange = Wire.exchange

    def overtaken(wire: Wire, commands: Sequence[Command], *, again: bool = True) -> list[Any]:
        replies = exchange(wire, commands, again=again)
        monkeypatch.undo()
        with closing(other(state)) as first:
            write(first, [payment(1, START_US)])
            write(first, [payment(2, START_US)])
        return replies

    monkeypatch.setattr(Wire, "exchange", overtaken)
    pending = state.begin(TENANT, entries([payment(3, START_US)]))
    assert state.tenants() == [TENANT]
    assert not pending.commit([b"r"])
    write(state, [payment(3, START_US)])
    assert len(state.unsettled(TENANT)) == 3
