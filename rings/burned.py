"""Things of busted rings, remembered when the rings are long gone: who shares one later reuses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rings.links import Links
from ringwatch.model import DAY_US

KEPT_US = 365 * DAY_US
"""From when its ring was last measured as busted."""
Key = tuple[str, str, str]


class Burned:
    """By tenant, kind and entity; the ring that had it first stays the one. In order of time."""

    def __init__(self) -> None:
        self._things: dict[Key, tuple[str, int]] = {}

    def note(self, links: Links, ring_id: str, shared: dict[int, list[int]], at_us: int) -> None:
        """`shared`: what the members of a busted ring share, thing -> their links. A thing that many others are on as well tells nothing
        of who comes later: it counts where three quarters of its users are of the ring."""
        for e, on in shared.items():
            key = _key(links, e)
            if self._things.get(key, (ring_id, 0))[0] == ring_id and 4 * len(on) >= 3 * len(links.on.get(e, ())):
                self._things.pop(key, None)
                self._things[key] = ring_id, at_us

    def before(self, links: Links, e: int, ring_id: str) -> str:
        """The busted ring that had a thing before this ring; empty where none had."""
        found = self._things.get(_key(links, e)) if self._things else None
        return "" if found is None or found[0] == ring_id else found[0]

    def forget(self, now_us: int) -> None:
        old = []
        for key, (_, at_us) in self._things.items():
            if at_us >= now_us - KEPT_US:
                break
            old.append(key)
        for key in old:
            del self._things[key]

    def rows(self) -> Iterator[tuple[str, str, str, str, int]]:
        """Tenant, kind, entity, ring, time: what `load` takes up."""
        return ((*key, *of) for key, of in self._things.items())

    def load(self, rows: Iterable[tuple[str, str, str, str, int]]) -> None:
        self._things = {(tenant, kind, entity): (ring_id, at_us) for tenant, kind, entity, ring_id, at_us in rows}


def _key(links: Links, e: int) -> Key:
    return links.tenant_list[links.thing_tenant[e]].name, links.kinds[links.thing_kind[e]], links.thing_name[e]
