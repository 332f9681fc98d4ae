"""The `alerting` of a policy: what it may say, what it is refused for, and whose counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwatch.errors import BadInput
from scorers.alerting import Budget, Costs
from scorers.policy import Policy, load_policy


def policy(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return load_policy(path)


def test_each_way_to_set_it(tmp_path: Path) -> None:
    found = policy(tmp_path, """
default: {alerting: {precision: 0.8, good_after_days: 30}}
tenants:
  costs: {alerting: {costs: {missed_fraud_minor: amount, false_alert_minor: 500}}}
  alerts: {alerting: {budget: {alerts_per_day: 40}, always: HIGH}}
  minutes: {alerting: {budget: {analyst_minutes_per_day: 480, minutes_per_alert: {HIGH: 12, CRITICAL: 6}}}}
  fixed: {alerting: null}
  other: {levels: {MEDIUM: 0.3}}
""")  # fmt: skip
    ways = {name: found.of(name).alerting for name in ("x", "costs", "alerts", "minutes", "fixed", "other")}
    assert {name: way and (way.kind, way.level, way.floor, way.always) for name, way in ways.items()} == {
        "x": ("precision", "MEDIUM", 0.25, "CRITICAL"),
        "costs": ("costs", "MEDIUM", 0.25, "CRITICAL"),
        "alerts": ("budget", "MEDIUM", 0.25, "HIGH"),
        "minutes": ("budget", "HIGH", 0.5, "CRITICAL"),
        "fixed": None,
        "other": ("precision", "MEDIUM", 0.15, "CRITICAL"),
    }
    costs, minutes = (found.of(name).alerting for name in ("costs", "minutes"))
    assert (costs and costs.costs, minutes and minutes.budget) == (
        Costs(500),
        Budget(None, 480, {"HIGH": 12, "CRITICAL": 6}),
    )


def test_levels_above_the_one_that_moves_are_pushed_up(tmp_path: Path) -> None:
    found = policy(tmp_path, "default: {alerting: {budget: {alerts_per_day: 4}}}").default
    assert found.alerting is not None
    assert found.alerting.at(0.3, found.levels) == {"MEDIUM": 0.3, "HIGH": 0.6, "CRITICAL": 0.85}
    assert found.alerting.at(0.7, found.levels) == {"MEDIUM": 0.7, "HIGH": 0.7, "CRITICAL": 0.85}


def test_it_is_part_of_the_policys_version(tmp_path: Path) -> None:
    one = policy(tmp_path, "default: {alerting: {budget: {alerts_per_day: 4}}}")
    other = policy(tmp_path, "default: {alerting: {budget: {alerts_per_day: 5}}}")
    assert len({one.version, other.version, Policy().version}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "it may have level"),
        ("{}", "exactly one of precision, costs, budget"),
        ("{precision: 0.8, budget: {alerts_per_day: 3}}", "has ['precision', 'budget']"),
        ("{precison: 0.8}", "did you mean 'precision'"),
        ("{precision: 1.0}", "between 0 and 1"),
        ("{precision: yes}", "a number is needed"),
        ("{precision: .nan}", "a number is needed"),
        ("{precision: 0.8, confidence: 2}", "between 0 and 1"),
        ("{budget: {alerts_per_day: 3}, confidence: 0.9}", "is for a precision"),
        ("{budget: {alerts_per_day: 0}}", "above 0"),
        ("{budget: {alerts_per_day: 3}, good_after_days: 3}", "needs no labels"),
        ("{precision: 0.8, good_after_days: -1}", "above 0"),
        ("{budget: {}}", "exactly one of alerts_per_day"),
        ("{budget: {alerts_per_day: 3, analyst_minutes_per_day: 3}}", "exactly one of alerts_per_day"),
        ("{budget: {alerts_per_day: 3, minutes_per_alert: {HIGH: 1}}}", "belongs to analyst_minutes_per_day"),
        ("{budget: {analyst_minutes_per_day: 3}}", "belongs to"),
        ("{budget: {analyst_minutes_per_day: 3, minutes_per_alert: {}}}", "for example {HIGH: 12"),
        ("{budget: {analyst_minutes_per_day: 3, minutes_per_alert: {high: 1}}}", "has 'high'"),
        ("{budget: {analyst_minutes_per_day: 3, minutes_per_alert: {HIGH: 1}}}", "each need their minutes"),
        ("{budget: {analyst_minutes_per_day: 3, minutes_per_alert: {CRITICAL: 1}}}", "each need their minutes"),
        ("{costs: {missed_fraud_minor: amount}}", "no false_alert_minor"),
        ("{costs: {missed_fraud_minor: lots, false_alert_minor: 5}}", "minor units, or amount"),
        ("{costs: {false_alert_minor: -5}}", "zero or more"),
        ("{costs: {false_alert_minor: 0}}", "alert on everything"),
        ("{precision: 0.8, level: CRITICAL}", "MEDIUM or HIGH may move"),
        ("{precision: 0.8, level: HIGH, always: HIGH}", "always is 'HIGH'"),
        ("{precision: 0.8, always: MEDIUM}", "always is 'MEDIUM'"),
        ("{precision: 0.8, floor: 0.9}", "below 0.85"),
        ("{precision: 0.8, floor: 0}", "above 0"),
        ("{precision: 0.8, level: HIGH, floor: 0.4}", "the level beneath"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        policy(tmp_path, f"tenants: {{acme: {{alerting: {text}}}}}")
    assert words in str(caught.value)
    assert "policy.yaml: tenants.acme.alerting" in str(caught.value)
