"""Rule files: every trouble with its line and column, all of them at once."""

from __future__ import annotations

import pytest
from support.rule_files import event, rule, rules

from features.schema import FeatureSchema
from ringwatch.errors import BadInput
from ringwatch.model import BUILTIN_KINDS, Kind, Strength
from scorers.rules.load import parse_rules, troubles_of
from scorers.rules.names import Column

BROKEN = """\
rules:
  - id: Bad-Id
    owner: anna
    mode: actt
    when: [payment, paymnt]
    if: device.neighbors_24h >= 3 and usr.age_s < 1d
    reason: "{device.neighbours_24hh} and {card}"
    score: 1.5
    scores: 1
  - id: second
    mode: act
    if: >
      amount_minor > 100
      and country = "de"
      and (user.age_s > "old")
    reason: ok
    fixtures:
      - event: {type: payment, device: d1, card_no: 7}
        features: {device.neighbours_24h: many, nothing.here: 1}
        expect: perhaps
  - id: second
    owner: ben
    mode: off
    if: lat > 1
    reason: ok
  - id: second
    owner: ben
    mode: shadow
    if: lat > 1 > 2
    expires: soon
    reason: ok
"""

TOLD = """\
r.yaml:2:9: the id is 'Bad-Id' (small letters, digits and _, at most 64)
r.yaml:4:11: mode is 'actt' (did you mean 'act'?)
r.yaml:5:21: when is 'paymnt' (did you mean 'payment'?)
r.yaml:6:9: there is no 'device.neighbors_24h' (did you mean 'device.neighbours_24h'?)
r.yaml:6:39: there is no 'usr.age_s' (did you mean 'user.age_s'?)
r.yaml:7:15: there is no 'device.neighbours_24hh' (did you mean 'device.neighbours_24h'?)
r.yaml:8:12: score is 1.5 (a number above 0, at most 1, is needed)
r.yaml:9:5: a rule has no 'scores' (did you mean 'score'?)
r.yaml:10:5: the rule has no 'owner' (it is needed; see docs/rules.md)
r.yaml:14:21: country is never 'de' (it is in upper case)
r.yaml:18:44: an event has no 'card_no' (did you mean 'card'?)
r.yaml:19:43: device.neighbours_24h is 'many' (a number is needed; missing ones are left out)
r.yaml:19:49: there is no feature 'nothing.here' (features are in docs/features.md, event fields in docs/rules.md)
r.yaml:20:17: expect is 'perhaps' (true (it fires) or false is needed)
r.yaml:29:17: '>' stands where and, or or the end is needed (between a and b, or two comparisons joined by and)
r.yaml:30:14: expires is 'soon' (a date such as 2027-01-31 is needed)
"""


def test_everything_that_is_wrong_is_told_at_once_with_its_place() -> None:
    assert "\n".join(troubles_of(lambda: parse_rules(BROKEN, "r.yaml"))) + "\n" == TOLD
    with pytest.raises(BadInput, match=r"r\.yaml:2:9: .*\(.*15 more, `ringwatch rules check` lists all\)"):
        parse_rules(BROKEN, "r.yaml")


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("", "the condition is empty"),
        ("amount_minor", "amount_minor alone is no condition (compare it, for example: amount_minor = 1)"),
        ("attributes.gift", "compare it, for example: attributes.gift = true"),
        ("amount_minor > 'x'", "this is a text, a number is needed (numbers stand without quotes)"),
        ("country > 'DE'", "'>' compares numbers, not a text"),
        ("country = 5", "this is a number, a text is needed (texts stand between quotes)"),
        ("country = DE", "there is no 'DE'"),
        ("5 > 3", "two constants are compared"),
        ("5 in (5)", "a constant is looked for in a list"),
        ("amount_minor in (5, 'x')", "the list mixes number and texts"),
        ("attributes.a = attributes.b", "two attributes are compared"),
        ("type = 'paymnt'", "did you mean 'payment'?"),
        ("outcome = 'denied'", "outcome is never 'denied'"),
        ("amount_minor / 0 > 1", "a division by zero"),
        ("amount_minor > 1 && lat > 1", "the sign '&' is not known (write and, or, not)"),
        ("amount_minor > 5x", "a number with letters behind it"),
        ("country = 'DE", "a text without its closing quote"),
        ("(amount_minor > 5", "the condition ends where ')' is needed"),
        ("amount_minor > 5 lat", "'lat' stands where and, or or the end is needed"),
        ("(lat > 1) + 1 > 2", "a condition stands where a value is needed"),
        ("lat + 1", "a value stands where a condition is needed"),
        ("lat + 1 is missing", "only a name can be missing"),
        ("neighbours_24h > 1", "a feature is named with its kind: 'user.neighbours_24h'"),
        ("devise.neighbours_24h > 1", "did you mean 'device.neighbours_24h'?"),
        ("__import__('os')", "'(' stands where and, or or the end is needed"),
        ("amount_minor.__class__ = 1", "there is no 'amount_minor.__class__'"),
    ],
)
def test_conditions_that_cannot_be(condition: str, says: str) -> None:
    (told, *_) = troubles_of(lambda: parse_rules(rules(rule(condition))))
    assert says in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a rule file begins with `rules:`"),
        ("[]", "a rule file begins with `rules:`"),
        ("rule: []", "did you mean 'rules'?"),
        ("rules: 3", "rules are a list"),
        ("rules:\n", "rules are a list (each begins with `- id:`; `rules: []` is a file without any)"),
        ("rules: [3]", "a rule has keys and values"),
        ("rules: &a [*a]", "anchors are not supported"),
        ("rules: !!python/object:os.system []", "tags are not supported"),
        ("rules:\n  - id: a\n    id: b\n", "'id' is given twice (first in line 2)"),
        ("rules: [", "not YAML"),
        ("rules: '\x07'", "a control character, U+0007"),
        ("rules: " + "[" * 400, "nested too deeply"),
        (rules(rule("lat > 1"), rule("lat > 2")), "the id 'one' is taken (by the rule in line 2)"),
        (rules(rule("lat > 1", mode="advise", action="block")), "a rule in mode advise has no action"),
        (rules(rule("lat > 1", about="devise")), "did you mean 'device'?"),
        (rules(rule("lat > 1", when="[]")), "when is empty"),
        (rules(rule("lat > 1", reason="{country")), "a brace without its other one"),
        (rules(rule("lat > 1", reason="{card}")), "{card} would show an identifier"),
        (rules(rule("lat > 1", reason="{attributes.a}")), "{attributes.a} is not compared in the condition"),
        (rules(rule("lat > 1", fixtures="[{expect: true, event: {amount_minor: 1.5}}]")), "a whole number is needed"),
        (rules(rule("lat > 1", fixtures="[{event: {lat: 1}}]")), "the fixture has no 'expect'"),
    ],
)
def test_files_that_cannot_be(text: str, says: str) -> None:
    assert says in "\n".join(troubles_of(lambda: parse_rules(text)))


def test_long_numbers_are_not_echoed() -> None:
    text = rules(
        rule(
            "card = 4111111111111111 and lat > '4111 1111 1111 1111'",
            id="4111-1111-1111-1111",
            score="4111111111111111",
        )
    )
    told = "\n".join(troubles_of(lambda: parse_rules(text)))
    assert "[number]" in told
    assert "1111" not in told


def test_the_version_is_of_what_the_rules_say() -> None:
    one, two = rule("lat>1   and lon > 2"), rule("lon > 3", id="two")
    version = parse_rules(rules(one, two)).version
    assert len(version) == 12
    assert parse_rules("# a comment\n" + rules(two, rule("lat > 1 and lon>2.0"))).version == version
    assert parse_rules(rules(one, rule("lon > 3.5", id="two"))).version != version
    assert parse_rules(rules(one, rule("lon > 3", id="two", owner="ben"))).version != version
    assert parse_rules("rules: []").version == "none"


def test_kinds_of_the_data_set_and_built_in_ones_may_be_named() -> None:
    schema = FeatureSchema((BUILTIN_KINDS[0], Kind("terminal", Strength.WEAK, crowded=True)))
    parsed = parse_rules(rules(rule("terminal.count_1h > 3 and device.count_1h > 2 and terminal = 't'")), "r", schema)
    assert Column("terminal", "text") in parsed.rules[0].columns
    assert "there is no 'terminal.count_1h'" in "".join(
        troubles_of(lambda: parse_rules(rules(rule("terminal.count_1h > 3"))))
    )


def test_reasons_show_values_in_words() -> None:
    reason = (
        "{amount_minor} {user.age_s} {user.gap_s} {device.top_share} {device.neighbours_24h} {country} {channel} "
        "{attributes.kind} {attributes.gift} {user.amount_z}"
    )
    text = rule("amount_minor > 1 and attributes.kind = 'x' and attributes.gift = true", reason=reason)
    (one,) = parse_rules(rules(text)).rules
    values = {c: {"text": "4111111111111111", "truth": 1.0}.get(c.type, 5400.0) for c in one.columns}
    values[Column("channel", "text")] = None
    values[Column("user.gap_s", "number")] = float("nan")
    values[Column("device.top_share", "number")] = 0.256
    values[Column("user.amount_z", "number")] = 2.3456
    assert one.reason.words(values) == "54.00 1.5 h unknown 25.6 % 5,400 [number] unknown [number] yes 2.35"


def test_defaults_of_a_rule() -> None:
    (one,) = parse_rules(rules(rule("lat > 1", action="challenge", expires="2027-01-31", when="payment"))).rules
    assert (one.score, one.when, one.action, one.about) == (0.7, ("payment",), "challenge", None)
    assert one.expires_us == 1_801_353_600_000_000
    assert event().at_us < one.expires_us
