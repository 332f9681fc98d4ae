"""A model's network over the stream that is scored says what training computed of the same stream, whatever the batches, also after it
was put down and taken up again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.columns import Applied, ResolvedLabel
from features.schema import FeatureSchema
from gnn.history import History, Labels
from gnn.intake import Intake
from gnn.network import Gnn
from ringwatch.errors import BadInput, Corrupt
from ringwatch.model import HOUR_US, MINUTE_US, Event, Label
from scorers.learned.live_network import LiveNetwork
from tests.support.gnn import network

SCHEMA = FeatureSchema()
KINDS = ("user", "device", "ip")
START_US = 1_700_000_000_000_000


def stream(n: int = 300) -> tuple[list[Event], list[tuple[int, ResolvedLabel]]]:
    """Events, some at one instant; labels an hour later, or with the event itself, and where in the stream they are applied."""
    rng = np.random.default_rng(2)
    events, labels = [], []
    at_us = START_US + np.sort(rng.integers(0, n, n)) * 3 * MINUTE_US
    for i in range(n):
        entities = {"user": f"u{rng.integers(n // 6)}", "ip": f"i{rng.integers(5)}"}
        if rng.random() < 0.8:
            entities["device"] = f"d{rng.integers(n // 8)}"
        events.append(Event(f"e{i}", "payment", int(at_us[i]), entities, amount_minor=int(rng.integers(1, 9999))))
        if rng.random() < 0.6:
            label = Label("event", f"e{i}", "fraud" if rng.random() < 0.3 else "good", int(at_us[i]) + i % 3 * HOUR_US)
            labels.append((i, ResolvedLabel(label, entities)))
    return events, labels


EVENTS, LABELS = stream()


def items() -> list[Applied]:
    """As `ScoringStream` applies them: a label before the first event that is not before the time it became known."""
    out: list[Applied] = []
    waiting = sorted(LABELS, key=lambda pair: pair[1].label.known_at_us)
    for i, event in enumerate(EVENTS):
        while waiting and waiting[0][1].label.known_at_us <= event.at_us and waiting[0][0] < i:
            out.append(waiting.pop(0)[1])
        out.append(event)
    return [*out, *(label for _, label in waiting)]


def gnn(memory: int = 10_000) -> Gnn:
    made = network()
    return replace(made, schema=replace(made.schema, kinds=KINDS, memory=memory))


def offline(one: Gnn) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    batch = Intake(SCHEMA, KINDS).batch(EVENTS)
    row = np.array([i for i, _ in LABELS])
    value = np.array([label.label.label == "fraud" for _, label in LABELS], np.int8)
    labels = Labels.ordered(row, value, np.array([label.label.known_at_us for _, label in LABELS]))
    return one.margins(History(batch, labels, KINDS, one.schema.crowded), np.arange(len(EVENTS)))


def pieces(all_of: list[Applied], size: int) -> list[list[Applied]]:
    return [all_of[at : at + size] for at in range(0, len(all_of), size)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_said_of_a_stream_is_what_training_computes_of_it(size: int) -> None:
    live = LiveNetwork(gnn(), SCHEMA)
    said = [live.take(some) for some in pieces(items(), size)]
    live.close()
    assert np.array_equal(np.concatenate([s.margin for s in said]), offline(gnn()))
    ages = np.concatenate([s.age_s for s in said])
    assert np.isnan(ages[0])
    assert np.nanmin(ages) > 600


@pytest.mark.parametrize("size", [1, 7, 40])
def test_what_is_forgotten_is_let_go_and_training_forgets_the_same(size: int) -> None:
    short = gnn(memory=30)
    live, seen = LiveNetwork(short, SCHEMA), []
    for some in pieces(items(), size):
        seen.append(live.take(some).margin)
    assert np.array_equal(np.concatenate(seen), offline(short))
    assert (offline(short) != offline(gnn())).any()
    memory = live.dump()
    assert len(memory["live.rows.at_us"]) <= 2 * 30 + size
    assert len(memory["rows"]) <= 30 + 30 // 4 + size
    assert len(memory["numbers.key"]) <= 3 * (30 + 30 // 4 + size)
    met = len({(kind, entity) for event in EVENTS for kind, entity in event.entities.items()})
    most = max(memory["numbers.number"].max(), memory["numbers.free"].max(initial=0)) + 1
    assert most < met, "numbers are not given again"
    again = LiveNetwork(short, SCHEMA)
    again.load(memory)
    late = [Event("late", "payment", EVENTS[-1].at_us + HOUR_US, EVENTS[-1].entities, amount_minor=5)]
    assert np.array_equal(live.take(late).margin, again.take(late).margin)
    live.close()
    again.close()


def test_labels_are_heard() -> None:
    live = LiveNetwork(gnn(), SCHEMA)
    deaf = live.take([item for item in items() if isinstance(item, Event)]).margin
    assert (deaf != offline(gnn())).any()
    live.close()


def test_it_goes_on_where_it_was_put_down() -> None:
    first, second = LiveNetwork(gnn(), SCHEMA), LiveNetwork(gnn(), SCHEMA)
    half = items()[:250]
    before = first.take(half).margin
    second.load({name: array.copy() for name, array in first.dump().items()})
    after = second.take(items()[250:]).margin
    assert np.array_equal(np.concatenate([before, after]), offline(gnn()))
    assert np.array_equal(first.take(items()[250:]).margin, after)
    first.close()
    second.close()


def test_memories_of_another_network_and_unknown_kinds_are_refused() -> None:
    one = LiveNetwork(gnn(), SCHEMA)
    one.take(items()[:50])
    memory = one.dump()
    memory["live.embedded"] = memory["live.embedded"][:, :8]
    with pytest.raises(Corrupt, match="cannot be read"):
        one.load(memory)
    with pytest.raises(Corrupt, match="cannot be read"):
        one.load({})
    one.close()
    with pytest.raises(BadInput, match="knows shop"):
        LiveNetwork(network(), SCHEMA)
