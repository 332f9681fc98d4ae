"""Other users on an event's entities: which links are kept with a decision, and what had been without one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import msgspec
import numpy as np
import pytest
from support.expected import events_of, market
from support.models import SCHEMA, new_stream

from explain.changes import WithoutUser, applied
from explain.explanation import explain
from explain.others import Others, Sought, key_name, names_from
from explain.past import Past
from explain.usual import usual_of
from explain.what_if import WhatIf
from features.columns import Applied, ResolvedLabel, entity_key
from features.memory_state import MemoryState
from features.record import LINK_FRAUD, LINKS
from features.schema import FeatureSchema
from features.seen import pack, unpack
from ingest.kept_links import kept_links
from ledger.store import Peers, StoredAssessment
from ringwatch.errors import Corrupt
from ringwatch.model import Action, Assessment, Event, Label, Level, Strength, Versions
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers

PAST = Past(SCHEMA, build_scorers, Policy())


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events_of(market(tmp_path_factory.mktemp("market"), 6000)[:6000], "default")


@pytest.fixture(scope="module")
def items(events: list[Event]) -> list[Applied]:
    """With labels of users who share a device, in their places."""
    shared = sorted({user for users in on_devices(events).values() if len(users) > 1 for user in users})
    found: list[Applied] = list(events)
    for i, user in enumerate(shared):
        at = 3000 + 50 * i
        label = Label("user", user, "fraud" if i % 3 else "good", events[min(at, 5000)].at_us)
        found.insert(min(at, 5000), ResolvedLabel(label, {"user": user}))
    return found


@pytest.fixture(scope="module")
def made(items: list[Applied]) -> Decisions:
    return new_stream().feed(list(enumerate(items)))


def on_devices(events: Sequence[Event]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for event in events:
        if event.user is not None and "device" in event.entities:
            found.setdefault(event.entities["device"], set()).add(event.user)
    return found


def stored(made: Decisions, row: int) -> StoredAssessment:
    named = {n: float(v) for n, v in zip(made.schema.names, made.features[row], strict=True) if v == v}
    return StoredAssessment(made.assessment(row), made.events[row], b"", named, made.links[row])


def no_peers() -> Peers:
    return Peers((), np.zeros((0, SCHEMA.size), np.float32))


# -- what is kept


def test_links_are_those_the_event_saw_whatever_comes_later_in_its_batch(items: list[Applied]) -> None:
    known: dict[int, list[bytes]] = {}
    for size in (1, 7, len(items)):
        state, found = MemoryState(SCHEMA, max_entities=100_000), []
        for start in range(0, len(items), size):
            some = items[start : start + size]
            _, seen = state.apply_seen(some)
            found += [pack(seen, row) for row in range(len(seen.ends))]
        known[size] = found
    assert known[1] == known[7] == known[len(items)]
    assert len(known[1]) == sum(isinstance(item, Event) for item in items)


def test_links_are_as_the_records_have_them_when_the_event_is_taken_in(items: list[Applied]) -> None:
    state, compared = MemoryState(SCHEMA, max_entities=100_000), 0
    for item in items[:2500]:
        _, seen = state.apply_seen([item])
        if not isinstance(item, Event) or item.user is None:
            assert isinstance(item, ResolvedLabel) or pack(seen, 0) == b""
            continue
        rows = unpack(pack(seen, 0))
        for slot, kind in enumerate(SCHEMA.kinds):
            mine = rows[rows["slot"] == slot]
            linked = kind.name == "user" or kind.strength is not Strength.NONE
            record = state.record(entity_key("default", kind.name, item.entities.get(kind.name, "")))
            if kind.name not in item.entities or not linked or record is None or (slot and record["links"] < 2):
                assert not len(mine)
                continue
            n = int(record["links"])
            for name in ("key", "kind", "first_s", "last_s", "count", "flags"):
                assert mine[name].tolist() == record[f"link_{name}"][:n].tolist()
            compared += 1
    assert compared > 2500


def test_alerts_what_is_not_allowed_and_a_sample_keep_their_links(made: Decisions) -> None:
    worth = (made.level >= int(Level.MEDIUM)) | (made.action != int(Action.ALLOW))
    kept = np.array([bool(links) for links in made.links])
    seen_by = np.array([event.user is not None for event in made.events])
    assert kept[worth & seen_by].all()
    calm = kept[~worth & seen_by]
    assert 0.003 < calm.mean() < 0.02


def test_no_links_of_a_decision_that_was_made_elsewhere(made: Decisions) -> None:
    state = MemoryState(SCHEMA, max_entities=1000)
    _, seen = state.apply_seen([made.events[0]])
    row = int(np.argmax(made.level))
    one = replace(made.select(row, row + 1), links=())
    assert kept_links(one, seen, [-1]) == [b""]
    assert kept_links(one, seen, [0]) == [pack(seen, 0)]


@pytest.mark.parametrize("bad", [b"\x01", b"\x02" + b"x" * 40, b"\x01not compressed"])
def test_links_that_cannot_be_read_are_corrupt(bad: bytes) -> None:
    with pytest.raises(Corrupt, match="links kept with a decision"):
        unpack(bad)


# -- what had been


def shared_cases(items: Sequence[Applied], most: int) -> list[tuple[int, str, str]]:
    """(place, kind, user) of events with another user on a strong entity."""
    users: dict[tuple[str, str], set[str]] = {}
    found = []
    strong = {kind.name for kind in SCHEMA.kinds if kind.strength is Strength.STRONG}
    for i, item in enumerate(items):
        if not isinstance(item, Event) or item.user is None:
            continue
        for kind, id_ in item.entities.items():
            if kind in strong:
                others = users.setdefault((kind, id_), set())
                found += [(i, kind, other) for other in sorted(others - {item.user})] if i > 1500 else []
                others.add(item.user)
    return Random(5).sample(found, most)


def without(items: Sequence[Applied], user: str, of: dict[str, str] | None) -> list[Applied]:
    """As if the user had never been there; or, of some entities, not on these."""
    found: list[Applied] = []
    for item in items:
        mine = item.user == user if isinstance(item, Event) else item.entities.get("user") == user
        if mine and of is None:
            continue
        if mine and of is not None and isinstance(item, Event):
            left = {kind: id_ for kind, id_ in item.entities.items() if of.get(kind) != id_}
            found.append(msgspec.structs.replace(item, entities=left))
            continue
        found.append(item)
    return found


@pytest.mark.parametrize("whole", [False, True])
def test_without_another_user_features_of_links_are_what_the_kernel_gives(items: list[Applied], whole: bool) -> None:
    """To the bit where all links of the entity are kept. Whether an entity was young when a user came to it is the entity's own age, not a
    link, and stays."""
    compared, changed = 0, 0
    for place, kind, user in shared_cases(items, 25):
        event = items[place]
        assert isinstance(event, Event)
        state = MemoryState(SCHEMA, max_entities=100_000)
        state.apply(items[:place])
        features, seen = state.apply_seen([event])
        rows = unpack(pack(seen, 0))
        if np.bincount(rows["slot"][rows["slot"] > 0], minlength=1).max() >= LINKS:
            continue
        then = StoredAssessment(assessment(event), event, b"", named(features[0]), pack(seen, 0))
        others = Others(SCHEMA, then)
        key = entity_key("default", "user", user)
        kinds = tuple(sorted(others.by_user[key])) if whole else (kind,)
        found = applied(SCHEMA, then, features[0], [WithoutUser(key, kinds)], others).features
        fed = MemoryState(SCHEMA, max_entities=100_000)
        of = None if whole else {kind: event.entities[kind]}
        wanted = fed.apply([*without(items[:place], user, of), event])[-1]
        counted = [i for i, f in enumerate(SCHEMA.features) if f.decomposable and f.name != "user.young_neighbours"]
        differ = [
            SCHEMA.names[i]
            for i in counted
            if found[i] != wanted[i] and not (found[i] != found[i] and wanted[i] != wanted[i])
        ]
        assert not differ, (event.event_id, kind, user)
        compared += 1
        changed += bool((found[counted] != features[0][counted])[~np.isnan(found[counted])].any())
    assert compared >= 15
    assert changed == compared


def named(features: np.ndarray[tuple[int], np.dtype[np.float32]]) -> dict[str, float]:
    return {n: float(v) for n, v in zip(SCHEMA.names, features, strict=True) if v == v}


def assessment(event: Event) -> Assessment:
    versions = Versions(SCHEMA.hash, {}, "")
    return Assessment(event.event_id, "default", event.at_us, event.user, 0.0, "LOW", "allow", {}, (), versions, {})


def test_with_all_places_taken_one_user_less_is_one_less_ever() -> None:
    event = Event("e", "login", 10**15, {"user": "me", "device": "d"})
    crowd = [Event(f"e{i}", "login", 10**15 - 10**9 + i * 10**6, {"user": f"u{i}", "device": "d"}) for i in range(40)]
    state = MemoryState(SCHEMA, max_entities=1000)
    state.apply(list[Applied](crowd))
    features, seen = state.apply_seen([event])
    then = StoredAssessment(assessment(event), event, b"", named(features[0]), pack(seen, 0))
    others = Others(SCHEMA, then)
    key = entity_key("default", "user", "u39")
    found = applied(SCHEMA, then, features[0], [WithoutUser(key, ("device",))], others).features
    ever, lately = SCHEMA.column("device.neighbours_all"), SCHEMA.column("device.neighbours_1h")
    assert features[0][ever] > LINKS
    assert found[ever] == features[0][ever] - 1
    assert (features[0][lately], found[lately]) == (LINKS, LINKS - 1)


def test_other_users_are_evidence_with_their_share(made: Decisions) -> None:
    told = 0
    for row in np.flatnonzero(made.level >= int(Level.MEDIUM)).tolist():
        then = stored(made, row)
        why = explain(
            PAST,
            then,
            no_peers(),
            lambda sought: names_from("default", {e.user for e in made.events if e.user}, sought),
        )
        assert why.others is not None
        assert [o.less for o in why.others] == sorted((o.less for o in why.others), reverse=True)
        for other in why.others:
            assert other.user != then.event.user
            assert not other.user.startswith("key:")
            before = [
                e
                for e in made.events[:row]
                if e.user == other.user and any(e.entities.get(k) == i for k, i in other.on)
            ]
            assert before
            assert other.last_s == max(e.at_us for e in before) // 10**6
            assert other.share == pytest.approx(other.less / then.assessment.score)
            assert other.without.score == pytest.approx(then.assessment.score - other.less)
            told += 1
    assert told > 10


def test_the_user_confirmed_as_fraud_on_a_shared_device_is_told_first() -> None:
    """Of those who are there alike."""
    start = 1_760_000_000_000_000
    day = 86_400 * 10**6
    events: list[Applied] = [
        Event(f"s{i}", "payment", start + i * 10**6, {"user": f"u{i}", "device": "d", "card": "c"}, amount_minor=5_000)
        for i in range(4)
    ]
    events.append(ResolvedLabel(Label("user", "u2", "fraud", start + day), {"user": "u2"}))
    events.append(
        Event("last", "payment", start + 2 * day, {"user": "me", "device": "d", "card": "c"}, amount_minor=9_000)
    )
    made = new_stream().feed(list(enumerate(events)))
    state = MemoryState(SCHEMA, max_entities=1000)
    state.apply(events[:-1])
    _, seen = state.apply_seen(events[-1:])
    then = replace(stored(made, len(made) - 1), links=pack(seen, 0))
    what_if = WhatIf(PAST, then, usual_of(SCHEMA, then, no_peers()))
    first = what_if.others()[0]
    (change,) = first.changes
    assert isinstance(change, WithoutUser)
    assert change.key == entity_key("default", "user", "u2")
    assert change.kinds == ("card", "device")
    assert first.less > 0.0
    assert what_if.links.by_user[change.key]["device"]["flags"] & LINK_FRAUD
    assert what_if.of([[change]]) == [first]


def test_of_older_decisions_nothing_is_known_of_others(made: Decisions) -> None:
    row = int(np.argmax(made.score))
    then = replace(stored(made, row), links=b"")
    why = explain(PAST, then, no_peers())
    assert why.others is None
    assert why.names == {}
    assert why.evidence


def test_users_without_a_name_are_told_by_their_keys(made: Decisions) -> None:
    for row in np.flatnonzero(made.level >= int(Level.MEDIUM)).tolist():
        why = explain(PAST, stored(made, row), no_peers())
        if why.others:
            assert all(o.user.startswith("key:") and len(o.user) == 20 for o in why.others)
            return
    raise AssertionError("no alert has others")


def test_names_are_those_whose_key_is_sought() -> None:
    sought = [Sought(entity_key("t", "user", "b"), "device", "d", 1)]
    assert names_from("t", {"a", "b"}, sought) == {sought[0].key: "b"}
    assert names_from("other", {"a", "b"}, sought) == {}
    assert key_name(255) == "key:00000000000000ff"


def test_another_schema_of_kinds_keeps_links_by_its_own_slots() -> None:
    kinds = (*SCHEMA.kinds[:2], SCHEMA.kinds[3])
    schema = FeatureSchema(kinds)
    state = MemoryState(schema, max_entities=1000)
    state.apply([Event("a", "login", 10**15, {"user": "u", "address": "x"})])
    event = Event("b", "login", 10**15 + 1, {"user": "v", "address": "x"})
    features, seen = state.apply_seen([event])
    known = {n: float(v) for n, v in zip(schema.names, features[0], strict=True) if v == v}
    others = Others(schema, StoredAssessment(assessment(event), event, b"", known, pack(seen, 0)))
    assert {key: list(of) for key, of in others.by_user.items()} == {entity_key("default", "user", "u"): ["address"]}
