"""How a tenant's alert threshold comes about, where it is not fixed: the `alerting` of a policy.

alerting: {precision: 0.8}
alerting: {costs: {missed_fraud_minor: amount, false_alert_minor: 500}}
alerting: {budget: {alerts_per_day: 40}}
alerting: {budget: {analyst_minutes_per_day: 480, minutes_per_alert: {HIGH: 12, CRITICAL: 6}}}

One level's threshold moves (`level`), between `floor` and where `always` begins. Levels between the two are pushed up by it,
those below it and from `always` on stand still.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

import msgspec

from ringwatch.errors import BadInput, did_you_mean

LEVELS = ("MEDIUM", "HIGH", "CRITICAL")
Moved = Literal["MEDIUM", "HIGH"]
Kept = Literal["HIGH", "CRITICAL"]
_KINDS = ("precision", "costs", "budget")
_DEFAULT_CONFIDENCE = 0.95


class Costs(msgspec.Struct, frozen=True):
    """What an account's day costs, in minor units of the tenant's currency. What is left alone and is no fraud costs nothing."""

    false_alert_minor: float
    """An alert on somebody innocent: the analyst's time and the customer's trouble."""
    missed_fraud_minor: float | Literal["amount"] = "amount"
    """Fraud that no alert told of; `amount`: what it took."""
    caught_fraud_minor: float = 0.0
    """Fraud that an alert told of."""


class Budget(msgspec.Struct, frozen=True):
    """Work a day: alerts, or minutes of analysts."""

    alerts_per_day: float | None = None
    analyst_minutes_per_day: float | None = None
    minutes_per_alert: dict[str, float] = {}
    """Level -> minutes; levels not named take none."""

    @property
    def per_day(self) -> float:
        return self.analyst_minutes_per_day if self.alerts_per_day is None else self.alerts_per_day  # type: ignore[return-value]

    @property
    def unit(self) -> str:
        return "minutes" if self.alerts_per_day is None else "alerts"

    def of_level(self, level: str) -> float:
        """Of the budget, what an alert of this level takes."""
        return 1.0 if self.alerts_per_day is not None else self.minutes_per_alert.get(level, 0.0)


class Alerting(msgspec.Struct, frozen=True):
    """Exactly one of precision, costs and budget."""

    level: Moved
    """The level whose threshold moves: the least that is an alert worth working on."""
    floor: float
    """The threshold does not go below."""
    always: Kept = "CRITICAL"
    """What reaches this level's fixed threshold is an alert whatever the rule says."""
    precision: float | None = None
    """Least share of frauds among accounts alerted on a day."""
    confidence: float = _DEFAULT_CONFIDENCE
    """With which the precision must be shown by the labels there are."""
    costs: Costs | None = None
    budget: Budget | None = None
    good_after_days: float | None = None
    """An event without a label counts as good when it is that old; None: never."""

    @property
    def kind(self) -> str:
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    def at(self, threshold: float, fixed: Mapping[str, float]) -> dict[str, float]:
        """The thresholds of all levels when the moved one begins at `threshold`."""
        moved = LEVELS.index(self.level)
        return {
            name: fixed[name] if i < moved else threshold if i == moved else max(fixed[name], threshold)
            for i, name in enumerate(LEVELS)
        }


def parse_alerting(where: str, raw: Any, levels: Mapping[str, float]) -> Alerting:
    """`raw` as read from YAML, `levels` the fixed thresholds. Raises BadInput that begins with `where`."""
    fields = _fields(where, raw, Alerting.__struct_fields__)
    if sum(kind in fields for kind in _KINDS) != 1:
        found = [kind for kind in _KINDS if kind in fields] or "none of them"
        raise BadInput(f"{where} has {found}", hint=f"exactly one of {', '.join(_KINDS)} is needed")
    if "costs" in fields:
        fields["costs"] = _costs(f"{where}.costs", fields["costs"])
    if "budget" in fields:
        fields["budget"] = _budget(f"{where}.budget", fields["budget"])
    level = fields.setdefault("level", _least_level(fields.get("budget")))
    if level not in get_args(Moved):
        raise BadInput(f"{where}.level is {level!r}", hint="the threshold of MEDIUM or HIGH may move")
    always = fields.get("always", "CRITICAL")
    if always not in get_args(Kept) or always == level:
        raise BadInput(f"{where}.always is {always!r}", hint=f"CRITICAL{'' if level == 'HIGH' else ' or HIGH'}")
    beneath = max((levels[name] for name in LEVELS[: LEVELS.index(level)]), default=0.0)
    floor = fields.setdefault("floor", max(beneath, levels[level] / 2))
    _number(f"{where}.floor", floor)
    if not (floor > 0.0 and beneath <= floor < levels[always]):
        hint = f"above 0, at least {beneath:g} (the level beneath), below {levels[always]:g} ({always})"
        raise BadInput(f"{where}.floor is {floor!r}", hint=hint)
    for name in ("precision", "confidence"):
        if name in fields and not 0.0 < _number(f"{where}.{name}", fields[name]) < 1.0:
            raise BadInput(f"{where}.{name} is {fields[name]!r}", hint="between 0 and 1, for example 0.8")
    if "confidence" in fields and "precision" not in fields:
        raise BadInput(f"{where}.confidence is for a precision", hint="take it out")
    if fields.get("good_after_days") is not None:
        _positive(f"{where}.good_after_days", fields["good_after_days"])
        if "budget" in fields:
            raise BadInput(f"{where}.good_after_days is for precision and costs", hint="a budget needs no labels")
    return msgspec.convert(fields, Alerting)


def _least_level(budget: Budget | None) -> str:
    if budget is None or budget.alerts_per_day is not None:
        return "MEDIUM"
    return next((name for name in LEVELS if budget.of_level(name) > 0.0), "MEDIUM")


def _costs(where: str, raw: Any) -> Costs:
    fields = _fields(where, raw, Costs.__struct_fields__)
    if "false_alert_minor" not in fields:
        raise BadInput(f"{where} has no false_alert_minor", hint="what an alert on somebody innocent costs")
    for name, value in fields.items():
        if (name, value) != ("missed_fraud_minor", "amount"):
            words = "a number in minor units, or amount" if name == "missed_fraud_minor" else ""
            if _number(f"{where}.{name}", value, words) < 0.0:
                raise BadInput(f"{where}.{name} is {value!r}", hint="a cost is zero or more")
    if fields["false_alert_minor"] <= 0.0:
        raise BadInput(f"{where}.false_alert_minor is 0", hint="if false alerts cost nothing, alert on everything")
    return msgspec.convert(fields, Costs)


def _budget(where: str, raw: Any) -> Budget:
    fields = _fields(where, raw, Budget.__struct_fields__)
    given = [name for name in ("alerts_per_day", "analyst_minutes_per_day") if name in fields]
    if len(given) != 1:
        raise BadInput(f"{where} has {given}", hint="exactly one of alerts_per_day, analyst_minutes_per_day is needed")
    _positive(f"{where}.{given[0]}", fields[given[0]])
    minutes = fields.get("minutes_per_alert", {})
    if ("minutes_per_alert" in fields) != (given[0] == "analyst_minutes_per_day"):
        raise BadInput(f"{where} has {sorted(fields)}", hint="minutes_per_alert belongs to analyst_minutes_per_day")
    if given[0] == "analyst_minutes_per_day":
        if not minutes or not isinstance(minutes, dict):
            raise BadInput(f"{where}.minutes_per_alert is {minutes!r}", hint="for example {HIGH: 12, CRITICAL: 6}")
        _fields(f"{where}.minutes_per_alert", minutes, LEVELS)
        for name, value in minutes.items():
            _positive(f"{where}.minutes_per_alert.{name}", value)
        least = next(i for i, name in enumerate(LEVELS) if name in minutes)
        if least == 2 or set(LEVELS[least:]) - set(minutes):
            hint = "HIGH and CRITICAL, or MEDIUM, HIGH and CRITICAL, each need their minutes"
            raise BadInput(f"{where}.minutes_per_alert has {sorted(minutes)}", hint=hint)
    return msgspec.convert(fields, Budget)


def _fields(where: str, raw: Any, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise BadInput(f"{where} is {raw!r}", hint=f"it may have {', '.join(known)}")
    for name in raw:
        if name not in known:
            raise BadInput(f"{where} has {name!r}", hint=did_you_mean(str(name), known))
    return dict(raw)


def _number(where: str, value: Any, hint: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{where} is {value!r}", hint=hint or "a number is needed")
    return float(value)


def _positive(where: str, value: Any) -> None:
    if _number(where, value) <= 0.0:
        raise BadInput(f"{where} is {value!r}", hint="a number above 0 is needed")
