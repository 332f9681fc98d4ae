"""Conditions: what they mean, beside a plain Python oracle, and that no text breaks the reader."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_files import SCHEMA, batch, event, rule, rules

from ringwatch.model import Event
from scorers.rules.checking import check
from scorers.rules.evaluation import Evaluator
from scorers.rules.expression import parse
from scorers.rules.load import parse_rules, troubles_of
from scorers.rules.names import Names
from scorers.rules.tokens import WORDS, Misread

NUMBERS = ("device.neighbours_24h", "user.age_s", "amount_minor", "attributes.n")
TEXTS = ("country", "device", "attributes.t")
WORDS_OF_TEXTS = ("DE", "FR", "D1")


def fires(condition: str, features: dict[str, float] | None = None, **fields: Any) -> bool:
    evaluator = Evaluator(parse_rules(rules(rule(condition))).rules)
    one = batch([event(**fields)], [features or {}])
    found = evaluator.fired(one)
    many = batch([event(**fields)] * 40, [features or {}] * 40)
    assert (evaluator.fired(many) == found[0, 0]).all()
    return bool(found[0, 0])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("amount_minor > 100 and country = 'DE'", True),
        ("amount_minor > 100 and country = 'FR' or device.neighbours_24h >= 3", True),
        ("amount_minor > 100 and (country = 'FR' or device.neighbours_24h > 3)", False),
        ("not amount_minor < 100", True),
        ("NOT (amount_minor < 100 OR country = 'DE')", False),
        ("amount_minor between 100 and 200", True),
        ("amount_minor not between 100 and 200", False),
        ("amount_minor in (150, 151) and country in ['DE', 'FR']", True),
        ("amount_minor not in (150)", False),
        ("amount_minor / 3 = 50", True),
        ("amount_minor - 100 * 2 = -50", True),
        ("(amount_minor - 100) * 2 = 100", True),
        ("-amount_minor < -149", True),
        ("149 < amount_minor", True),
        ("user.age_s < 2h and user.age_s >= 1h", True),
        ("user.age_s = 90m", True),
        ("device.top_share >= 0.7", True),
        ("device.top_share = 0.7", True),
        ("attributes.gift = true and attributes.gift is not false", True),
        ("attributes.kind = 'card'", True),
        ("attributes.kind is missing or attributes.none is not missing", False),
        ("device = 'd1' and type = \"payment\"", True),
        ("card is missing and card.count_1h is missing", True),
        ("country == 'DE'", True),
    ],
)
def test_what_conditions_mean(condition: str, expected: bool) -> None:
    features = {"device.neighbours_24h": 3, "user.age_s": 5400, "device.top_share": 0.7}
    attributes = {"gift": True, "kind": "card"}
    got = fires(condition, features, amount_minor=150, country="DE", entities={"device": "d1"}, attributes=attributes)
    assert got is expected


@pytest.mark.parametrize(
    "condition",
    [
        "amount_minor > 0",
        "not amount_minor > 0",
        "amount_minor != 5",
        "amount_minor not in (1, 2)",
        "not (amount_minor between 1 and 2)",
        "country != 'DE'",
        "country not in ('DE')",
        "attributes.x != 'a'",
        "attributes.x != true",
        "device.neighbours_24h < 5",
        "lat / lon = lat / lon",
        "lat / 0.5 > amount_minor",
        "outcome = outcome_code",
        "outcome != outcome_code",
    ],
)
def test_what_is_missing_never_fires(condition: str) -> None:
    assert not fires(condition)


def test_over_zero_is_missing() -> None:
    assert not fires("lat / lon > 0 or lat / lon < 0 or lat / lon = 0", lat=1.0, lon=0.0)


def test_attributes_of_another_type_are_missing() -> None:
    assert not fires("attributes.a > 1", attributes={"a": "2"})
    assert not fires("attributes.a = '2'", attributes={"a": 2})
    assert not fires("attributes.a = 1", attributes={"a": True})
    assert fires("attributes.a > 1", attributes={"a": 10**400})


Tree = tuple[Any, ...]
number_names = st.sampled_from(NUMBERS)
constants = st.sampled_from([0.0, 1.0, 2.0, 3.5, 100.0])
arithmetic = st.recursive(
    number_names.map(lambda n: ("name", n)) | constants.map(lambda c: ("number", c)),
    lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner),
    max_leaves=3,
)
with_a_name = st.tuples(st.sampled_from("+-*/"), number_names.map(lambda n: ("name", n)), arithmetic)
tests = st.one_of(
    st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), with_a_name, arithmetic),
    st.tuples(
        st.sampled_from(["=", "!=", "<", ">"]),
        number_names.map(lambda n: ("name", n)),
        constants.map(lambda c: ("number", c)),
    ),
    st.tuples(st.sampled_from(["text=", "text!="]), st.sampled_from(TEXTS), st.sampled_from(WORDS_OF_TEXTS)),
    st.tuples(
        st.sampled_from(["in", "not in"]), st.sampled_from(TEXTS), st.lists(st.sampled_from(WORDS_OF_TEXTS), min_size=1)
    ),
    st.tuples(st.sampled_from(["missing", "not missing"]), st.sampled_from(NUMBERS + TEXTS)),
)
trees: st.SearchStrategy[Tree] = st.recursive(
    tests,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=8,
)


def written(tree: Tree) -> str:
    match tree:
        case ("name", name):
            return name
        case ("number", value):
            return str(value)
        case ("text=" | "text!=" as sign, name, word):
            return f"{name} {sign[4:]} '{word}'"
        case ("in" | "not in" as sign, name, words):
            return f"{name} {sign} ({', '.join(repr(w) for w in words)})"
        case ("missing" | "not missing" as sign, name):
            return f"{name} is {sign}"
        case ("not", part):
            return f"not ({written(part)})"
        case (sign, left, right):
            return f"({written(left)}) {sign} ({written(right)})"
    raise AssertionError(tree)


def oracle(tree: Tree, values: dict[str, Any]) -> Any:
    """Three-valued: None is unknown. A number that is missing is None too."""
    match tree:
        case ("name", name):
            return values[name]
        case ("number", value):
            return value
        case ("text=" | "text!=" as sign, name, word):
            return None if values[name] is None else (values[name] == word) is (sign == "text=")
        case ("in" | "not in" as sign, name, words):
            return None if values[name] is None else (values[name] in words) is (sign == "in")
        case ("missing" | "not missing" as sign, name):
            return (values[name] is None) is (sign == "missing")
        case ("not", part):
            found = oracle(part, values)
            return None if found is None else not found
        case ("and" | "or" as word, left, right):
            a, b = oracle(left, values), oracle(right, values)
            decided = word == "or"
            return decided if decided in (a, b) else None if None in (a, b) else not decided
    sign, left, right = tree
    a, b = oracle(left, values), oracle(right, values)
    if a is None or b is None:
        return None
    if sign == "/":
        return None if b == 0 else nan_is_none(a / b)
    results = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "=": lambda: a == b, "!=": lambda: a != b,
               "<": lambda: a < b, "<=": lambda: a <= b, ">": lambda: a > b, ">=": lambda: a >= b}  # fmt: skip
    found = results[sign]()
    return found if isinstance(found, bool) else nan_is_none(found)


def nan_is_none(x: float) -> float | None:
    return None if isnan(x) else x


small = st.none() | st.sampled_from([0.0, 1.0, 2.0, 3.5, 100.0])
rows = st.fixed_dictionaries(
    dict.fromkeys(NUMBERS[:2], small)
    | {"amount_minor": st.none() | st.sampled_from([0, 1, 2, 100]), "attributes.n": small}
    | {name: st.none() | st.sampled_from(WORDS_OF_TEXTS) for name in TEXTS}
)


def event_of(row: dict[str, Any], i: int) -> Event:
    attributes = {k: row[f"attributes.{k}"] for k in ("n", "t") if row[f"attributes.{k}"] is not None}
    entities = {"device": row["device"]} if row["device"] is not None else {}
    return event(i, amount_minor=row["amount_minor"], country=row["country"], entities=entities, attributes=attributes)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(trees, st.lists(rows, min_size=1, max_size=30))
def test_conditions_mean_what_the_oracle_says(tree: Tree, given_rows: list[dict[str, Any]]) -> None:
    text = rules(rule(written(tree)))
    told = troubles_of(lambda: parse_rules(text))
    if told:
        assert all("constant" in line or "division by zero" in line for line in told)
        return
    evaluator = Evaluator(parse_rules(text).rules)
    whole = batch(
        [event_of(r, i) for i, r in enumerate(given_rows)],
        [{n: r[n] for n in NUMBERS[:2] if r[n] is not None} for r in given_rows],
    )
    expected = [oracle(tree, r) is True for r in given_rows]
    assert evaluator.fired(whole)[:, 0].tolist() == expected
    columns = [
        np.array([nan if r[c.name] is None else r[c.name] for r in given_rows], np.float64) for c in evaluator.features
    ]
    assert evaluator.fired_columns(whole.events, columns)[:, 0].tolist() == expected, "by column and one at a time"


words = st.sampled_from(
    [
        *WORDS,
        *NUMBERS,
        *TEXTS,
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "<=",
        "!=",
        "-",
        "/",
        "'a'",
        '"',
        "1",
        "2.5",
        "7d",
        "1e999",
        "é",
        "{",
    ]
)


def misread(text: str) -> Misread | None:
    try:
        check(parse(text).tree, Names(SCHEMA))
    except Misread as error:
        return error
    return None


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.lists(words, max_size=25).map(" ".join) | st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    error = misread(text)
    assert error is None or (0 <= error.at <= len(text) and error.text)


@pytest.mark.parametrize(
    "text", ["(" * 5000, "not " * 900, "-" * 900 + "1", "1+" * 900, "a" * 5000, "x in (" + "1," * 900]
)
def test_deep_and_long_conditions_are_refused(text: str) -> None:
    assert misread(text) is not None


broken = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["act", "payment", "a > 1"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["rules", "id", "if", "mode", "fixtures", "event", "features", "when", "expires"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(broken, st.text(max_size=20))
def test_no_file_breaks_the_loader(content: Any, junk: str) -> None:
    import yaml

    for text in (
        yaml.safe_dump(content),
        yaml.safe_dump({"rules": content}),
        yaml.safe_dump({"rules": [content]}),
        junk,
    ):
        assert all(line.startswith("rules.yaml:") for line in troubles_of(lambda text=text: parse_rules(text)))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_cut_or_changed_file_breaks_the_loader(data: st.DataObject) -> None:
    text = rules(
        rule("amount_minor > 5 and country in ('DE')", fixtures="[{event: {country: DE}, expect: false}]"),
        rule("lat > 1", id="two"),
    )
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    assert all(line.startswith("rules.yaml:") for line in troubles_of(lambda: parse_rules(changed)))
