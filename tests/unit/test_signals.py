"""What the neighbourhood scorer makes of small stories: who is suspected, who is not, and in which words."""

from __future__ import annotations

from features.columns import Applied, ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ringwatch.model import DAY_US, MINUTE_US, Event, Label
from scorers.detectors.neighbourhood import build
from scorers.scorer import Batch
from tests.support.streams import START_US

SCHEMA = FeatureSchema()


def tell(*story: Applied) -> tuple[float, list[str]]:
    """The value of the story's last event and its reasons."""
    features = MemoryState(SCHEMA, max_entities=1000).apply(story)
    events = [item for item in story if isinstance(item, Event)]
    batch, scorer = Batch(events, features, SCHEMA), build({})
    last = len(events) - 1
    return float(scorer.score(batch)[last]), [f.text for f in scorer.explain(batch, last)]


def event(n: int, kind: str, user: str, at_us: int, **things: str) -> Event:
    return Event(f"{n}-{user}", kind, at_us, {"user": user, **things})


def fraud(of: Event, at_us: int) -> ResolvedLabel:
    return ResolvedLabel(Label("event", of.event_id, "fraud", at_us), of.entities)


def test_fresh_accounts_on_one_device_are_suspect_and_old_customers_on_a_tablet_hardly() -> None:
    fresh, old = [], []
    for i in range(7):
        at = START_US + 40 * DAY_US + i * 30 * MINUTE_US
        fresh += [event(1, "signup", f"f{i}", at, device="d"), event(2, "order", f"f{i}", at + MINUTE_US, device="d")]
        old += [event(1, "signup", f"o{i}", START_US + i, device=f"own{i}")]
    old += [event(2, "order", f"o{i}", START_US + 40 * DAY_US + i * 30 * MINUTE_US, device="tablet") for i in range(7)]
    suspect, words = tell(*fresh)
    assert suspect > 0.75
    assert "accounts on this device that were under a day old when they first used it: 7 of 7" in words
    value, words = tell(*old)
    assert 0.0 < value < 0.5
    assert not any("day old" in text for text in words)


def test_without_sign_ups_a_first_event_tells_young_accounts_once_the_stream_is_old() -> None:
    crowd = [event(i, "order", f"u{i}", START_US + 20 * DAY_US + i * MINUTE_US, device="d") for i in range(7)]
    value, words = tell(event(99, "order", "someone", START_US), *crowd)
    assert value > 0.75
    assert any("under a day old" in text for text in words)
    value, words = tell(*crowd)
    assert value < 0.5
    assert not any("under a day old" in text for text in words)


def test_two_frauds_among_three_accounts_weigh_more_than_among_twelve() -> None:
    def house(size: int) -> float:
        first = [event(i, "order", f"u{i}", START_US + i * 9 * DAY_US, address="a") for i in range(size)]
        end = START_US + size * 9 * DAY_US
        labels = [fraud(first[0], end), fraud(first[1], end)]
        return tell(*first, *labels, event(99, "order", f"u{size - 1}", end + DAY_US, address="a"))[0]

    assert house(3) > 2 * house(12) > 0.0


def test_a_victims_own_things_do_not_accuse_again() -> None:
    """One confirmed fraud of a customer is one fact, however many things of the customer took part in it."""
    things = {"device": "d", "card": "c", "address": "a", "email": "e", "phone": "p"}
    first = event(1, "payment", "victim", START_US, **things)
    again = event(2, "payment", "victim", START_US + 20 * DAY_US, **things)
    value, words = tell(first, fraud(first, START_US + DAY_US), again)
    assert words == ["confirmed events of this user that were fraud: 1 of 1"]
    assert 0.0 < value < 0.5
    stranger = event(3, "payment", "stranger", START_US + 20 * DAY_US, **things)
    value, words = tell(first, fraud(first, START_US + DAY_US), stranger)
    assert value > 0.8
    assert "other accounts on this card confirmed as fraud: 1 of 2" in words
    assert "confirmed events of this card that were fraud: 1 of 1" in words
