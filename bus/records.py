"""Records of our own topics. One that is none of ours (who else writes there?) is left where it is and named, and reading goes on; one of
a newer version stops its reader: it would be lost to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Message

from bus.messages import Foreign

log = logging.getLogger("ringwatch.kafka")
T = TypeVar("T")


def message_in(record: Message, decode: Callable[[bytes], T]) -> T | None:
    """None where there is nothing in it for us. Raises Corrupt."""
    raw = record.value()
    if raw is None:
        return None
    try:
        return decode(raw)
    except Foreign as error:
        log.error("%s/%s is passed over at offset %s: %s", record.topic(), record.partition(), record.offset(), error)
        return None
