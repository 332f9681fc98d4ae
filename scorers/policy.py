"""Policy: how much each scorer counts, where levels begin, what is done at each. One for everybody, or one a tenant.

default:
  weights: {neighbourhood: 0.9, behaviour_isolation: 0.5}
  levels: {MEDIUM: 0.5, HIGH: 0.6, CRITICAL: 0.85}
  actions: {MEDIUM: review, HIGH: challenge, CRITICAL: block}
tenants:
  acme: {levels: {MEDIUM: 0.5}}
  shop: {alerting: {budget: {alerts_per_day: 40}}}    # see scorers/alerting.py
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from ringwatch.config_file import config_text
from ringwatch.errors import BadInput, did_you_mean
from ringwatch.model import Action, Level
from scorers.alerting import LEVELS, Alerting, parse_alerting


class TenantPolicy(msgspec.Struct, frozen=True):
    weights: dict[str, float] = {}
    """Scorer -> the most it may contribute alone, 0..1."""
    other_weight: float = 0.8
    """For scorers not named."""
    levels: dict[str, float] = msgspec.field(default_factory=lambda: {"MEDIUM": 0.5, "HIGH": 0.6, "CRITICAL": 0.85})
    """Level -> least score."""
    actions: dict[str, str] = msgspec.field(
        default_factory=lambda: {"LOW": "allow", "MEDIUM": "review", "HIGH": "challenge", "CRITICAL": "block"}
    )
    alerting: Alerting | None = None
    """How the threshold of a level comes about; None: `levels` are what counts."""

    def weight(self, scorer: str) -> float:
        return self.weights.get(scorer, self.other_weight)

    def thresholds(self) -> list[float]:
        return [self.levels[name] for name in LEVELS]

    def action_codes(self) -> list[int]:
        return [int(Action[self.actions[level.name].upper()]) for level in Level]


BUILT_IN = TenantPolicy(weights={"statistical": 0.5, "behaviour_profile": 0.5, "behaviour_isolation": 0.4,
                                 "neighbourhood": 0.6, "listed": 1.0, "rules": 1.0}, other_weight=0.9)  # fmt: skip


class Policies(Protocol):
    """Whoever says which policy counts for a tenant."""

    def of(self, tenant: str) -> TenantPolicy: ...


class Policy:
    def __init__(self, default: TenantPolicy = BUILT_IN, tenants: dict[str, TenantPolicy] | None = None) -> None:
        self.default = default
        self.tenants = tenants or {}
        everything = _content(default), {name: _content(policy) for name, policy in self.tenants.items()}
        content = msgspec.json.encode(everything, order="deterministic")
        self.version = hashlib.sha256(content).hexdigest()[:12]

    def check_scorers(self, names: Collection[str]) -> None:
        """Raises BadInput for a weight of a scorer there is not."""
        for policy in (self.default, *self.tenants.values()):
            for name in policy.weights:
                if name not in names:
                    message = f"policy: there is no scorer {name!r} to weigh"
                    raise BadInput(message, hint=did_you_mean(name, names))

    def of(self, tenant: str) -> TenantPolicy:
        return self.tenants.get(tenant, self.default)


def _content(policy: TenantPolicy) -> dict[str, Any]:
    """What its version stands for."""
    return {key: value for key, value in msgspec.to_builtins(policy).items() if (key, value) != ("alerting", None)}


def load_policy(path: Path | None) -> Policy:
    if path is None:
        return Policy()
    try:
        content = yaml.safe_load(config_text(path, "policy file", "RINGWATCH_POLICY")) or {}
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}", hint="mend the line it names") from None
    if not isinstance(content, dict) or set(content) - {"default", "tenants"}:
        raise BadInput(f"{path} has {sorted(content)}", hint="the top level has default: and tenants: only")
    for_all = content.get("default") or {}
    default = _merge(path, "default", BUILT_IN, for_all)
    tenants = content.get("tenants") or {}
    if not isinstance(tenants, dict):
        raise BadInput(f"{path}: tenants is {tenants!r}", hint="write tenant: {what differs}")
    inherited = for_all.get("alerting")
    return Policy(default, {n: _merge(path, f"tenants.{n}", default, raw, inherited) for n, raw in tenants.items()})


def _merge(path: Path, where: str, base: TenantPolicy, raw: Any, inherited: Any = None) -> TenantPolicy:
    """`inherited`: the `alerting` that counts where `raw` has none; it is replaced as a whole."""
    if not isinstance(raw, dict) or set(raw) - set(TenantPolicy.__struct_fields__):
        raise BadInput(f"{path}: {where} is {raw!r}", hint=f"it may have {', '.join(TenantPolicy.__struct_fields__)}")
    merged = {**msgspec.to_builtins(base), "alerting": None}
    for key, value in raw.items():
        if key != "alerting":
            merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    try:
        policy = msgspec.convert(merged, TenantPolicy)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {where}: {error}", hint="weights and levels are numbers") from None
    _check(path, where, policy)
    alerting = raw.get("alerting", inherited)
    if alerting is None:
        return policy
    return msgspec.structs.replace(
        policy, alerting=parse_alerting(f"{path}: {where}.alerting", alerting, policy.levels)
    )


def _check(path: Path, where: str, policy: TenantPolicy) -> None:
    if set(policy.levels) != set(LEVELS):
        raise BadInput(f"{path}: {where}.levels has {sorted(policy.levels)}", hint=f"it needs {', '.join(LEVELS)}")
    if not 0.0 < policy.levels["MEDIUM"] < policy.levels["HIGH"] < policy.levels["CRITICAL"] <= 1.0:
        raise BadInput(f"{path}: {where}.levels are {policy.levels}", hint="0 < MEDIUM < HIGH < CRITICAL <= 1")
    for name, weight in policy.weights.items():
        if not 0.0 <= weight <= 1.0:
            raise BadInput(f"{path}: {where}.weights.{name} is {weight}", hint="a weight lies between 0 and 1")
    known = {a.name.lower() for a in Action}
    for level, action in policy.actions.items():
        if level not in Level.__members__ or action not in known:
            raise BadInput(f"{path}: {where}.actions.{level} is {action!r}", hint=f"one of {', '.join(sorted(known))}")
