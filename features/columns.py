"""Events and labels to the kernel's columns: hashes for entities, codes for words."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import nan

import numpy as np

from features.kernel import LABEL_FRAUD, LABEL_GOOD, Columns, Layout
from features.record import CATEGORY_BINS
from features.schema import FeatureSchema
from features.sequence import NAMED
from ringwatch.model import TYPE_CODES, Event, Label

_REMEMBERED_KEYS = 300_000
BASKET_STEPS = frozenset(("cart", "basket", "checkout", "shipping", "review"))
"""Names of workflow steps between looking at things and paying for them."""
_FAIL = {"approved": 0, "success": 0, "declined": 1, "failed": 1, None: -1}


@dataclass(frozen=True, slots=True)
class ResolvedLabel:
    """A label with the entities it is about (kind -> id)."""

    label: Label
    entities: dict[str, str]


Applied = Event | ResolvedLabel


def entity_key(tenant: str, kind: str, entity_id: str) -> int:
    """64-bit BLAKE2b of tenant, kind and id; never 0. Two of 10^7 entities collide with probability 3e-6."""
    text = f"{len(tenant)}:{tenant}{len(kind)}:{kind}{entity_id}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def layout_of(schema: FeatureSchema) -> Layout:
    return Layout(
        np.array([int(kind.strength) for kind in schema.kinds], np.int64),
        np.array([kind.crowded for kind in schema.kinds], np.bool_),
        schema.slot_size,
        schema.user_offset,
        schema.since_offset,
        schema.event_offset,
        schema.sequence_offset,
        np.array([schema.kind_index.get(name, -1) for name in NAMED], np.int64),
    )


class ColumnBuilder:
    """Builds columns; remembers recent entity hashes, which are pure functions of the identifiers."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._kinds = schema.kind_index
        self._keys: dict[tuple[str, str, str], int] = {}
        self._categories: dict[str | None, int] = {None: 255}
        self._countries: dict[str | None, int] = {None: 0}
        self._agents: dict[str, int] = {}

    def build(self, items: Sequence[Applied]) -> Columns:
        n = len(items)
        keys = np.zeros((n, len(self._kinds)), np.uint64)
        op = np.empty(n, np.uint8)
        at_us = np.empty(n, np.int64)
        fail = np.full(n, -1, np.int8)
        country = np.zeros(n, np.uint16)
        category = np.full(n, 255, np.uint8)
        numbers = np.full((6, n), nan)
        agent = np.zeros(n, np.uint16)
        order = np.zeros(n, np.uint32)
        basket = np.zeros(n, np.uint8)
        for i, item in enumerate(items):
            if isinstance(item, ResolvedLabel):
                op[i] = LABEL_FRAUD if item.label.label == "fraud" else LABEL_GOOD
                at_us[i] = item.label.known_at_us
                self._fill_keys(keys[i], item.label.tenant, item.entities)
                continue
            op[i] = TYPE_CODES[item.type]
            at_us[i] = item.at_us
            self._fill_keys(keys[i], item.tenant, item.entities)
            fail[i] = _FAIL[item.outcome]
            country[i] = self._country(item.country)
            category[i] = self._category(item.category)
            self._fill_numbers(numbers[:, i], item)
            if item.user_agent is not None:
                agent[i] = self._agent(item.user_agent)
            if item.order_id is not None:
                order[i] = zlib.crc32(item.order_id.encode("utf-8", "surrogatepass")) or 1
            if item.step in BASKET_STEPS:
                basket[i] = 1
        amount, lat, lon, quantity, unit_price, stock = numbers
        return Columns(
            op,
            at_us,
            keys,
            amount,
            fail,
            lat,
            lon,
            country,
            category,
            quantity,
            unit_price,
            stock,
            agent,
            order,
            basket,
        )

    @staticmethod
    def _fill_numbers(out: np.ndarray[tuple[int], np.dtype[np.float64]], event: Event) -> None:
        if event.amount_minor is not None:
            out[0] = event.amount_minor
        if event.lat is not None and event.lon is not None:
            out[1] = event.lat
            out[2] = event.lon
        if event.quantity is not None:
            out[3] = event.quantity
        if event.unit_price_minor is not None:
            out[4] = event.unit_price_minor
        if event.stock_after is not None:
            out[5] = event.stock_after

    def _fill_keys(self, out: np.ndarray[tuple[int], np.dtype[np.uint64]], tenant: str, ids: dict[str, str]) -> None:
        for kind, entity_id in ids.items():
            k = self._kinds.get(kind)
            if k is None:
                continue
            token = (tenant, kind, entity_id)
            key = self._keys.get(token)
            if key is None:
                if len(self._keys) >= _REMEMBERED_KEYS:
                    self._keys.clear()
                key = self._keys[token] = entity_key(tenant, kind, entity_id)
            out[k] = key

    def _category(self, name: str | None) -> int:
        code = self._categories.get(name)
        if code is None and name is not None:
            if len(self._categories) >= _REMEMBERED_KEYS:
                self._categories = {None: 255}
            code = self._categories[name] = zlib.crc32(name.encode()) % CATEGORY_BINS
        return 255 if code is None else code

    def _agent(self, name: str) -> int:
        code = self._agents.get(name)
        if code is None:
            if len(self._agents) >= _REMEMBERED_KEYS:
                self._agents.clear()
            code = self._agents[name] = zlib.crc32(name.encode("utf-8", "surrogatepass")) % 65_535 + 1
        return code

    def _country(self, name: str | None) -> int:
        code = self._countries.get(name)
        if code is None and name is not None:
            code = self._countries[name] = 1 + (ord(name[0]) - 65) % 26 * 26 + (ord(name[1]) - 65) % 26
        return code or 0
