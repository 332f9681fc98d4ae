"""Records of a topic -> events, labels and refusals: the same checks as at the other doors, the tenant from the topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ingest.card_numbers import mask_card_numbers
from ingest.events import EventDecoder, check_kind
from ingest.file_source import safe_bytes
from ingest.intake import check_ahead
from ringwatch.errors import RingwatchError
from ringwatch.model import Event, Label, Refusal


class TopicIntake:
    """`decoders`: topic -> decoder of the tenant whose topic it is; `labels`: the topic that labels belong to. `clock` in seconds
    since 1970."""

    def __init__(
        self,
        decoders: Mapping[str, EventDecoder],
        wanted: type[Event] | type[Label],
        clock: Callable[[], float],
        *,
        labels: str,
    ) -> None:
        self._decoders = decoders
        self._wanted = wanted
        self._clock = clock
        self._labels = labels

    def tenant(self, topic: str) -> str:
        return self._decoders[topic].rules.tenant

    def take(self, topic: str, partition: int, offset: int, raw: bytes | None) -> Event | Label | Refusal:
        """One record. What can't be read is a refusal with the reason, the place and the bytes, card numbers masked."""
        source = f"{topic}/{partition}"
        if raw is None:
            return Refusal("the record has no value", source, offset, b"", "empty")
        try:
            decoder = self._decoders[topic]
            fields = decoder.parse(raw)
            check_kind(fields, self._wanted, events="a topic of events", labels=self._labels)
            item = decoder.from_fields(fields)
            check_ahead(item, self._clock())
        except RecursionError:
            return Refusal("the record is nested too deeply", source, offset, safe_bytes(raw, "invalid"))
        except RingwatchError as error:
            code = str(error.context.get("code", "invalid"))
            return Refusal(mask_card_numbers(str(error)), source, offset, safe_bytes(raw, code), code)
        return item
