"""A small shop whose frauds can be learned, and models trained on it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.streams import START_US

from features.columns import Applied, ResolvedLabel
from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from rings.keeper import RingKeeper
from ringwatch.model import HOUR_US, MINUTE_US, Event, Label
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.learned.book import ModelBook
from scorers.learned.model import LearnedModel
from scorers.learned.model_file import save
from scorers.learned.shelf import Placed, Shelf
from scorers.learned.silence import Silence
from scorers.lists import ListBook, Lists
from scorers.policy import Policy
from scorers.registry import build_scorers
from scorers.rules.book import RuleBook
from training.fit import learn
from training.table import Table, TableBuilder

SCHEMA = FeatureSchema()
KINDS = frozenset(("user", "device", "card"))


def shop(n: int, seed: int, *, tenant: str = "default", labels_until: int | None = None) -> list[tuple[int, Applied]]:
    """Payments, one in eight a fraud (a high amount, or a device that four share, which labels tell of six hours later). No labels
    after `labels_until` events."""
    rng = random.Random(seed)
    at_us, items = START_US, list[Applied]()
    for i in range(n):
        at_us += rng.randrange(MINUTE_US, 30 * MINUTE_US)
        user, fraud = rng.randrange(40), rng.random() < 0.125
        entities = {"user": f"u{user}", "device": f"d{user // 2}", "card": f"c{user}"}
        amount = rng.randrange(500, 5000)
        if fraud and rng.random() < 0.5:
            amount *= 40
        elif fraud:
            entities["device"] = f"bad{rng.randrange(4)}"
        event = Event(f"{tenant}-{seed}-{i}", "payment", at_us, entities, tenant=tenant, amount_minor=amount)
        items.append(event)
        if labels_until is None or i < labels_until:
            what = "fraud" if fraud else "good"
            label = Label("event", event.event_id, what, at_us + 6 * HOUR_US, tenant=tenant)  # type: ignore[arg-type]
            items.append(ResolvedLabel(label, entities))
    return list(enumerate(items))


def new_stream(
    book: ModelBook | None = None, *, policy: Policy | None = None, lists: ListBook | None = None, rules: RuleBook | None = None
) -> ScoringStream:  # fmt: skip
    scorers = build_scorers(lists=Lists(lists), rules=rules)
    assessor = Assessor(scorers, policy or Policy(), SCHEMA, book=book)
    return ScoringStream(MemoryState(SCHEMA, max_entities=5000), assessor, RingKeeper(SCHEMA))


def new_book(shelf: Shelf, **more: object) -> ModelBook:
    return ModelBook(shelf, SCHEMA, [s.name for s in build_scorers()], in_background=False, **more)  # type: ignore[arg-type]


@cache
def trained(seed: int, events: int = 900, *, rule: bool = False) -> LearnedModel:
    """`rule`: with the robust rule beside it, whatever the labels say of that."""
    model = learn(table(seed, events), seed=seed).model
    return replace(model, told=replace(model.told, rule=rule), untold=replace(model.untold, rule=rule))


def table(seed: int, events: int = 900) -> Table:
    """Of the shop; labels are known at the time of the event."""
    items = shop(events, seed)
    stream = new_stream()
    made = stream.feed(items)
    label = {x.label.target_id: int(x.label.label == "fraud") for _, x in items if isinstance(x, ResolvedLabel)}
    rows = np.arange(len(made))
    builder = TableBuilder(SCHEMA, stream.assessor.names, np.ones(len(made), np.bool_), KINDS)
    builder.keep(made, rows)
    return builder.table(np.array([label[e.event_id] for e in made.events], np.int8))


def put(shelf: Shelf, version: str, model: LearnedModel, folder: Path, schema: str = SCHEMA.hash) -> Placed:
    path = folder / f"{version}.trained"
    save(model, path, schema=schema, card={"made": "by a test"})
    return shelf.put(version, path)


def spoil_file(shelf: Shelf, placed: Placed) -> None:
    shelf.path(placed.version).write_bytes(b"damaged")


def cut(stream: ScoringStream, items: list[tuple[int, Applied]], size: int) -> Decisions:
    return Decisions.concatenate([stream.feed(items[i : i + size]) for i in range(0, len(items), size)])


def same(a: Decisions, b: Decisions) -> bool:
    """To the bit, but for times of computing."""
    columns = all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in ("scores", "score", "level", "action")
    )  # fmt: skip
    return columns and all(
        list(getattr(a, name)) == list(getattr(b, name)) for name in ("reasons", "versions", "degraded", "patterns")
    )


def column(made: Decisions, name: str) -> NDArray[np.float64]:
    return made.scores[:, made.scorer_names.index(name)]


def silence_of(made: Decisions) -> NDArray[np.float64]:
    return Silence(SCHEMA).take(np.array([e.at_us for e in made.events]), made.features)
