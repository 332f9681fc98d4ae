"""Transactions of a role that the brokers left without an end (`Transactor.end_forgotten`): found and ended when it opens."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bus.clients import BusSettings
from bus.topic_log import unended
from bus.transactions import Part, Transactor

log = logging.getLogger("ringwatch.roles")
_END_S = 3.0
"""Longer than a transaction that goes on takes to its end."""


def end_forgotten(bus: BusSettings, topics: Sequence[str], transactor: Transactor, group: object) -> list[Part]:
    """Call after `Transactor.start`. Partitions of the topics where records are still held back, by others then. Raises Unavailable."""
    if not (held := unended(bus, topics, _END_S)):
        return []
    log.warning("a transaction was not ended on %s: own ones are ended now", told(held))
    transactor.end_forgotten(held, group)
    return unended(bus, topics, _END_S)


def told(parts: Sequence[Part]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in parts)
