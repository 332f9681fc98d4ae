"""The starter sets, and the examples of the docs: they load, and their fixtures prove every rule both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringwatch.errors import NotFound
from ringwatch.model import type_names
from scorers.rules.fixtures import prove
from scorers.rules.load import parse_rules
from scorers.rules.names import NUMBER_FIELDS, TEXT_FIELDS
from scorers.rules.starter_sets import starter_names, starter_text

DOCS = Path(__file__).parents[2] / "docs" / "rules.md"


def test_there_is_one_for_each_business() -> None:
    assert starter_names() == ["games", "marketplace", "payments", "shop"]
    with pytest.raises(NotFound, match="did you mean 'shop'"):
        starter_text("shops")


@pytest.mark.parametrize("name", starter_names())
def test_starter_sets_are_proved_and_begin_in_shadow(name: str) -> None:
    loaded = parse_rules(starter_text(name), name)
    assert loaded.name == name
    assert 8 <= len(loaded.rules) <= 12
    proof = prove(loaded)
    assert proof.failures == []
    assert proof.unproved == []
    assert {r.mode for r in loaded.rules} == {"shadow"}
    assert all(r.description and r.about for r in loaded.rules)


def test_a_fixture_that_fails_and_a_rule_that_is_not_proved_are_told() -> None:
    text = starter_text("shop").replace("expect: false", "expect: true", 1)
    proof = prove(parse_rules(text))
    assert len(proof.failures) == 1
    assert "rule card_testing_declines does not fire on this fixture, it should" in proof.failures[0].text
    bare = prove(parse_rules("rules: [{id: a, owner: o, mode: act, if: lat > 1, reason: r}]"))
    assert len(bare.unproved) == 2


def test_the_examples_of_the_docs() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        proof = prove(parse_rules(example, "docs/rules.md"))
        assert proof.failures == []
        assert proof.unproved == []


def test_the_conditions_of_the_docs() -> None:
    table = DOCS.read_text().split("## The language")[1].split("## ")[0]
    conditions = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    assert len(conditions) > 8
    for condition in conditions:
        written = condition.replace('"', "'").replace("'", "''")
        parse_rules(f"rules: [{{id: a, owner: o, mode: act, if: '{written}', reason: r}}]")


def test_the_docs_name_every_field() -> None:
    text = DOCS.read_text()
    assert [name for name in (*NUMBER_FIELDS, *TEXT_FIELDS, *type_names) if f"`{name}`" not in text] == []
