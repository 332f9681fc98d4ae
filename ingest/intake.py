"""Bytes of a request -> events and labels, each checked by itself: the same checks as for files, and those of a live door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.events import EventDecoder, check_kind
from ingest.values import refuse, show, time_text
from ringwatch.errors import BadInput, Denied, RingwatchError
from ringwatch.model import MICROSECONDS, Event, Label

MAX_ONE_BYTES, MAX_BATCH_BYTES, MAX_ITEMS = 1_000_000, 16_000_000, 1_000
AHEAD_S = 300
"""How far ahead of receipt a time may lie."""
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Taken:
    """The items of one body, in order: each an item or why it is none."""

    items: Sequence[Event | Label | RingwatchError]
    batch: bool

    def good(self) -> list[Event | Label]:
        return [item for item in self.items if not isinstance(item, RingwatchError)]


class Intake:
    """Reads bodies. `decoder_of` gives a tenant's decoder; `clock` the time of receipt in seconds."""

    def __init__(self, decoder_of: Callable[[str], EventDecoder], clock: Callable[[], float]) -> None:
        self._decoder_of = decoder_of
        self._clock = clock
        self._decoders: dict[str, EventDecoder] = {}

    def take(self, body: bytes, tenant: str, wanted: type[Event] | type[Label]) -> Taken:
        """One object or a list of them. Raises BadInput when the body is neither."""
        try:
            content = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            code = "encoding" if "utf-8" in str(error).lower() else "not_json"
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise BadInput(f"the body is not JSON: {show(reason)}", hint="send one object, or a list of them", code=code) from None  # fmt: skip
        if isinstance(content, dict):
            if len(body) > MAX_ONE_BYTES:
                raise too_large(MAX_ONE_BYTES)
            return Taken([self._item(content, tenant, wanted)], batch=False)
        if not isinstance(content, list):
            raise BadInput(f"the body is {show(content, quote=True)}", hint="send one object, or a list of them")
        if not 0 < len(content) <= MAX_ITEMS:
            raise BadInput(f"the list has {len(content):,} items", hint=f"1 to {MAX_ITEMS:,} are taken at once")
        return Taken([self._item(fields, tenant, wanted) for fields in content], batch=True)

    def _item(self, fields: Any, tenant: str, wanted: type[Event] | type[Label]) -> Event | Label | RingwatchError:
        try:
            if type(fields) is not dict:
                raise BadInput(f"the item is {show(fields, quote=True)}", hint="an object is needed")
            named = fields.get("tenant")
            if named != tenant and isinstance(named, str):
                hint = "the key is bound to another tenant; leave it out"
                raise Denied(f"tenant is {show(named, quote=True)}", hint=hint, field="tenant")
            check_kind(fields, wanted, events="/v1/score or /v1/events", labels="/v1/labels")
            item = self._decoder(tenant).from_fields(fields)
            check_ahead(item, self._clock())
        except RingwatchError as error:
            return error
        except RecursionError:
            return BadInput("the item is nested too deeply", hint="events are flat but for entities and attributes")
        return item

    def token(self, tenant: str, kind: str, value: str) -> str:
        """What stands for an identifier here; itself where it does not become a token."""
        return self._decoder(tenant).token(kind, value)

    def _decoder(self, tenant: str) -> EventDecoder:
        found = self._decoders.get(tenant)
        if found is None:
            found = self._decoders[tenant] = self._decoder_of(tenant)
        return found


def check_ahead(item: Event | Label, now_s: float) -> None:
    """Raises BadInput for a time too far ahead of receipt."""
    at_us, field = (item.at_us, "at") if isinstance(item, Event) else (item.known_at_us, "known_at")
    if at_us > (now_s + AHEAD_S) * MICROSECONDS:
        raise refuse(field, time_text(at_us), f"at most {AHEAD_S // 60} minutes ahead of now are accepted", "time")


def too_large(most: int) -> BadInput:
    return BadInput(f"the body has over {most:,} bytes", hint="send less at once", code="too_large")
