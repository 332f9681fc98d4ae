"""Counts of the state's windows and links done the plain way: every event and every link is kept, nothing is estimated."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Event, Kind

WINDOWS = {"1m": MINUTE_US, "10m": 10 * MINUTE_US, "1h": HOUR_US, "24h": DAY_US, "7d": 7 * DAY_US, "30d": 30 * DAY_US}


class Exact:
    """Feed events in order of time; `features` of an event as the state names them, after the event is counted."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._times: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0])
        self._links: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = defaultdict(dict)

    def feed(self, event: Event) -> dict[str, float]:
        nodes = list(event.entities.items())
        found: dict[str, float] = {}
        for node in nodes:
            self._times[node].append(event.at_us)
            self._sums[node].append(self._sums[node][-1] + (event.amount_minor or 0))
        if event.user is not None:
            me = ("user", event.user)
            for node in nodes:
                if node != me and self._kinds[node[0]].strength:
                    found[f"{node[0]}.link_new"] = float(me not in self._links[node])
                    self._link(node, me, event.at_us)
                    self._link(me, node, event.at_us)
        for kind, entity in nodes:
            self._read(kind, (kind, entity), event.at_us, found)
        return found

    def _link(self, one: tuple[str, str], other: tuple[str, str], at_us: int) -> None:
        first_last = self._links[one].setdefault(other, [at_us, at_us])
        first_last[1] = at_us

    def _read(self, kind: str, node: tuple[str, str], at_us: int, found: dict[str, float]) -> None:
        times, sums, links = self._times[node], self._sums[node], self._links[node]
        for name, window in WINDOWS.items():
            before = bisect_right(times, at_us - window)
            found[f"{kind}.count_{name}"] = len(times) - before
            if name in ("1h", "24h", "7d", "30d"):
                found[f"{kind}.amount_{name}_minor"] = sums[-1] - sums[before]
        if kind != "user" and not self._kinds[kind].strength:
            return
        for name in ("1h", "24h", "7d", "30d"):
            found[f"{kind}.neighbours_{name}"] = sum(at_us - last < WINDOWS[name] for _, last in links.values())
        for name in ("24h", "7d"):
            found[f"{kind}.new_neighbours_{name}"] = sum(at_us - first < WINDOWS[name] for first, _ in links.values())
        found[f"{kind}.neighbours_all"] = len(links)
