"""What a network saw of an event is kept as it was: without nothing it says what it said, without a link what a replay of the whole says."""

from __future__ import annotations

import numpy as np
import pytest
from support.models import SCHEMA, shop
from support.networks import GRAPH_KINDS, gnn, offline

from features.columns import Applied, ResolvedLabel, entity_key
from gnn.history import FRAUD, GOOD, History, Labels
from gnn.intake import Intake
from gnn.kept import Kept, unpack
from gnn.network import Gnn
from gnn.removal import Hood, Link, hood_of, links_of, margins_without
from gnn.replay import replay
from ringwatch.errors import Corrupt
from ringwatch.model import Event
from scorers.learned.live_network import LiveNetwork

ITEMS = shop(300, 5)
EVENTS = [item for _, item in ITEMS if isinstance(item, Event)]
Packed = list[bytes]


def served(live: LiveNetwork, items: list[Applied], size: int) -> Packed:
    """What it saw of each event."""
    found: Packed = []
    for at in range(0, len(items), size):
        some = items[at : at + size]
        said = live.take(some)
        found += [said.hood(row) for row in range(sum(isinstance(item, Event) for item in some))]
    return found


def applied() -> list[Applied]:
    """Labels where the stream is past them."""
    out: list[Applied] = []
    waiting = sorted((i for _, i in ITEMS if isinstance(i, ResolvedLabel)), key=lambda i: i.label.known_at_us)
    for event in EVENTS:
        while waiting and waiting[0].label.known_at_us < event.at_us:
            out.append(waiting.pop(0))
        out.append(event)
    return out


def whole(one: Gnn) -> list[Hood]:
    """Of a replay."""
    row = {event.event_id: i for i, event in enumerate(EVENTS)}
    labels = [item.label for _, item in ITEMS if isinstance(item, ResolvedLabel)]
    known = Labels.ordered(
        np.array([row[label.target_id] for label in labels], np.int64),
        np.array([FRAUD if label.label == "fraud" else GOOD for label in labels], np.int8),
        np.array([label.known_at_us for label in labels], np.int64),
    )
    batch = Intake(SCHEMA, GRAPH_KINDS).batch(EVENTS)
    done = replay(History(batch, known, GRAPH_KINDS, one.schema.crowded), one.schema)
    return [hood_of(one, done, i) for i in range(len(EVENTS))]


def removals(hood: Hood) -> list[set[Link]]:
    links = links_of(hood)
    return [set(), *({link} for link in links), set(links), {link for link in links if link.met >= 0}]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_says_without_links_what_a_replay_says(size: int) -> None:
    one = gnn()
    live = LiveNetwork(one, SCHEMA)
    said, inner = offline(one, ITEMS), 0
    for packed, wanted, margin in zip(served(live, applied(), size), whole(one), said, strict=True):
        hood, _ = unpack(packed, one)
        assert links_of(hood) == links_of(wanted)
        without = margins_without(one, hood, removals(hood), named=False)
        assert without[0] == margin
        assert np.array_equal(without, margins_without(one, wanted, removals(wanted), named=False))
        inner += sum(link.met >= 0 for link in links_of(hood))
    assert inner > 500
    live.close()


def test_those_it_met_are_named() -> None:
    one = gnn()
    live = LiveNetwork(one, SCHEMA)
    met: dict[tuple[str, str], set[int]] = {}
    for event, packed in zip(EVENTS, served(live, applied(), 7), strict=True):
        hood, keys = unpack(packed, one)
        for k, kind in enumerate(GRAPH_KINDS):
            there = hood.met_kind[k] >= 0
            assert set(keys[k, there].tolist()) <= met.get((kind, event.entities[kind]), set())
            assert not keys[k, ~there].any()
        for kind, id_ in event.entities.items():
            others = {entity_key("default", *other) for other in event.entities.items() if other != (kind, id_)}
            met.setdefault((kind, id_), set()).update(others)
    live.close()


def test_it_goes_on_where_it_was_put_down() -> None:
    one = gnn()
    first, second = LiveNetwork(one, SCHEMA), LiveNetwork(one, SCHEMA)
    items = applied()
    served(first, items[:250], 10)
    second.load({name: array.copy() for name, array in first.dump().items()})
    assert served(second, items[250:], 10) == served(first, items[250:], 10)
    bare = LiveNetwork(one, SCHEMA)
    bare.load({name: a.copy() for name, a in first.dump().items() if not name.startswith("live.kept.")})
    first.close()
    second.close()
    bare.close()


def test_what_is_no_longer_kept_is_not_told_and_the_rest_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gnn()
    monkeypatch.setattr("gnn.kept.MOST", 40)
    monkeypatch.setattr(Kept.__init__, "__defaults__", (40,))
    live = LiveNetwork(one, SCHEMA)
    fewer = 0
    for packed, wanted, margin in zip(served(live, applied(), 7), whole(one), offline(one, ITEMS), strict=True):
        hood, _ = unpack(packed, one)
        assert margins_without(one, hood, [set()]) == [margin]
        assert set(links_of(hood)) <= set(links_of(wanted))
        own = [{link} for link in links_of(wanted) if link.met < 0]
        assert np.array_equal(margins_without(one, hood, own), margins_without(one, wanted, own))
        fewer += len(links_of(hood)) < len(links_of(wanted))
    assert 0 < fewer < len(EVENTS)
    live.close()


def test_numbers_that_are_given_again_name_nobody_else() -> None:
    """Of a network that forgets after thirty events: whoever is told was met, though its number was another's before."""
    test = gnn(memory=30)
    live = LiveNetwork(test, SCHEMA)
    met: dict[int, set[int]] = {}
    for event, packed in zip(EVENTS, served(live, applied(), 3), strict=True):
        hood, keys = unpack(packed, test)
        own = [entity_key("default", kind, event.entities[kind]) for kind in GRAPH_KINDS]
        for k, key in enumerate(own):
            assert set(keys[k, hood.met_kind[k] >= 0].tolist()) <= met.get(key, set())
            met.setdefault(key, set()).update(other for other in own if other != key)
    live.close()


@pytest.mark.parametrize("spoil", [lambda b: b[1:], lambda b: b[:-3], lambda b: b"\x01", lambda b: b"\x02" + b[1:]])
def test_what_cannot_be_read_is_said(spoil: object) -> None:
    one = gnn()
    live = LiveNetwork(one, SCHEMA)
    packed = served(live, applied()[:20], 5)[-1]
    live.close()
    with pytest.raises(Corrupt, match="cannot be read"):
        unpack(spoil(packed), one)  # type: ignore[operator]
