"""Every window and distinct count of the state against counts done the plain way: what is called exact is, what is called
a bound bounds, what is called an estimate is within its error."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from features.columns import ResolvedLabel
from features.memory_state import MemoryState
from features.record import LINKS, RECENT
from features.schema import FeatureSchema
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Event, Label
from tests.support.exact import WINDOWS, Exact
from tests.support.streams import START_US

SCHEMA = FeatureSchema()


def shoppers(seed: int, n: int) -> list[Event]:
    """Users with own and shared things: crowds on some devices, bursts and long pauses, in order of time."""
    rng = random.Random(seed)
    at_us, events = START_US, []
    for i in range(n):
        at_us += rng.choice([1000, MINUTE_US // 3, 20 * MINUTE_US, rng.randrange(2 * HOUR_US)])
        if i % 400 == 399:
            at_us += rng.randrange(3 * DAY_US)
        user = int(60 * rng.random() ** 2)
        entities = {"user": f"u{user}", "device": f"d{user // 4}", "ip": f"i{rng.randrange(40)}"}
        if rng.random() < 0.5:
            entities |= {"card": f"c{rng.randrange(30)}", "merchant": f"m{rng.randrange(3)}"}
        amount = rng.choice([None, 100, rng.randrange(10_000)])
        events.append(Event(f"{i}", "payment", at_us, entities, amount_minor=amount))
    return events


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_called_exact_is_exact_and_bounds_bound(seed: int) -> None:
    events = shoppers(seed, 3000)
    features = MemoryState(SCHEMA, max_entities=1000).apply(events)
    exact = Exact(SCHEMA.kinds)
    past: dict[tuple[str, str], list[int]] = {}
    overflowing = estimated = 0
    for event, row in zip(events, features, strict=True):
        reference = exact.feed(event)
        for name, value in reference.items():
            kind, feature = name.split(".", 1)
            got = float(row[SCHEMA.index[name]])
            links = reference.get(f"{kind}.neighbours_all", 0)
            if feature in ("count_1m", "count_10m", "count_1h") and value <= RECENT:
                assert got == value, name
            elif feature in ("count_1m", "count_10m"):
                assert RECENT <= got <= value, name
            elif feature == "amount_1h_minor" and reference[f"{kind}.count_1h"] <= RECENT:
                assert got == pytest.approx(value, rel=1e-5), name
            elif feature == "link_new" or feature.startswith("new_neigh") or feature in _NEIGHBOURS:
                assert got <= value, name
                assert links > LINKS or got == value, name
                overflowing += links > LINKS
            elif feature == "neighbours_all":
                assert links >= LINKS or got == value, name
            elif feature in ("count_24h", "count_7d", "count_30d"):
                times = past.setdefault((kind, event.entities[kind]), [])
                if feature == "count_24h":
                    times.append(event.at_us)
                window, size = WINDOWS[feature[6:]], _BUCKET_US[feature]
                oldest = sum(t // size == (event.at_us - window) // size for t in times)
                hour = max(0.0, float(row[SCHEMA.index[f"{kind}.count_1h"]]) - reference[f"{kind}.count_1h"])
                assert abs(got - value) <= oldest + hour + 1e-3, name
                estimated += got != value
    assert overflowing > 1000
    assert estimated > 1000


_NEIGHBOURS = ("neighbours_1h", "neighbours_24h", "neighbours_7d", "neighbours_30d")
_BUCKET_US = {"count_24h": DAY_US // 12, "count_7d": DAY_US // 2, "count_30d": 3 * DAY_US}


def crowd(n: int, key: str, *, one_user: bool) -> np.ndarray:
    """Features of the last of n events: n users on one device, or n devices of one user."""
    pairs = [("u", f"{key}{i}") if one_user else (f"{key}{i}", "d") for i in range(n)]
    events = [Event(f"{i}", "login", START_US + i, {"user": u, "device": d}) for i, (u, d) in enumerate(pairs)]
    return MemoryState(SCHEMA, max_entities=4000).apply(events)


@pytest.mark.parametrize("n", [100, 500, 3000])
def test_distinct_users_have_the_error_of_64_registers(n: int) -> None:
    """Flajolet et al. 2007: standard error 1.04 / sqrt(64) = 13 %; 24 trials stay within 3 standard errors of their mean."""
    column = SCHEMA.index["device.neighbours_all"]
    ratios = [crowd(n, f"{t}-", one_user=False)[-1, column] / n for t in range(24)]
    sigma = 1.04 / math.sqrt(64)
    assert abs(np.mean(ratios) - 1) < 3 * sigma / math.sqrt(24) + 0.03
    assert np.sqrt(np.mean(np.square(np.array(ratios) - 1))) < 1.6 * sigma


@pytest.mark.parametrize("n", [20, 40])
def test_distinct_things_of_a_user_have_the_error_of_32_bits(n: int) -> None:
    """Whang et al. 1990: relative standard error sqrt(m (e^t - t - 1)) / (t m), t = n / m, with m = 32 bits."""
    column = SCHEMA.index["user.device_links_all"]
    got = np.array([crowd(n, f"{t}-", one_user=True)[-1, column] for t in range(60)])
    load = n / 32
    sigma = math.sqrt(32 * (math.exp(load) - load - 1)) / (load * 32)
    assert np.sqrt(np.mean(np.square(got / n - 1))) < 1.6 * sigma


@pytest.mark.parametrize("n", [32, 64])
def test_new_links_are_missed_as_rarely_as_the_filter_says(n: int) -> None:
    """256 bits, two hashes: the last of n links is taken for known with probability (1 - e^(-2n/256))^2."""
    column = SCHEMA.index["device.link_new"]
    missed = np.mean([crowd(n, f"{t}-", one_user=False)[n // 2 :, column] == 0 for t in range(40)])
    chance = np.mean([(1 - math.exp(-2 * i / 256)) ** 2 for i in range(max(n // 2, LINKS), n)])
    assert missed < 2.0 * chance + 0.01


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_last_labels_are_counted_in_the_order_they_became_known(seed: int) -> None:
    rng = random.Random(seed)
    state, known = MemoryState(SCHEMA, max_entities=1000), []
    for n in range(60):
        features = state.apply([Event(f"{n}", "payment", START_US + n * HOUR_US, {"user": "u"})])[0]
        for of in (3, 8):
            found = features[SCHEMA.column(f"user.last_{of}_frauds")]
            assert math.isnan(found) if not known else found == sum(known[-of:])
        for _ in range(rng.choice([0, 0, 1, 2])):
            fraud = rng.random() < 0.4
            known.append(fraud)
            label = Label("event", f"{n}", "fraud" if fraud else "good", START_US + n * HOUR_US)
            state.apply([ResolvedLabel(label, {"user": "u"})])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_of_frauds_lasts_until_three_are_good(seed: int) -> None:
    rng = random.Random(seed)
    state, known = MemoryState(SCHEMA, max_entities=1000), []
    for n in range(80):
        now_us = START_US + n * HOUR_US
        features = state.apply([Event(f"{n}", "payment", now_us, {"user": "u"})])[0]
        frauds, goods, began_us = run_of(known)
        found = [features[SCHEMA.column(f"user.{name}")] for name in ("fraud_run", "good_run", "fraud_run_age_s")]
        assert np.array_equal(
            found,
            [
                frauds if known else math.nan,
                goods if known else math.nan,
                math.nan if began_us is None else (now_us - began_us) / 1e6,
            ],
            equal_nan=True,
        )
        if rng.random() < 0.7:
            known.append((rng.random() < 0.4, now_us))
            label = Label("event", f"{n}", "fraud" if known[-1][0] else "good", now_us)
            state.apply([ResolvedLabel(label, {"user": "u"})])


def run_of(known: list[tuple[bool, int]]) -> tuple[int, int, int | None]:
    """Frauds in the last run, good ones after them, and since when; by looking back from the end."""
    frauds = [i for i, (fraud, _) in enumerate(known) if fraud]
    if not frauds:
        return 0, len(known), None
    first = len(frauds) - 1
    while first > 0 and frauds[first] - frauds[first - 1] <= 3:
        first -= 1
    return len(frauds) - first, len(known) - 1 - frauds[-1], known[frauds[first]][1]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_highest_of_the_last_amounts_is_held_against_all_before(seed: int) -> None:
    events = shoppers(seed, 2000)
    features = MemoryState(SCHEMA, max_entities=1000).apply(events)
    past: dict[str, list[int | None]] = {}
    peaks = 0
    for event, row in zip(events, features, strict=True):
        before = past.setdefault(event.entities["device"], [])
        got = float(row[SCHEMA.column("device.amount_peak")])
        recent = [amount for amount in before[-RECENT:] if amount is not None]
        logs = [math.log(amount + 1) for amount in before if amount is not None]
        if recent and len(logs) >= 3:
            assert got == pytest.approx(math.log(max(recent) + 1) - math.fsum(logs) / len(logs), rel=1e-5, abs=1e-5)
            peaks += 1
        else:
            assert math.isnan(got)
        before.append(event.amount_minor)
    assert peaks > 1000
