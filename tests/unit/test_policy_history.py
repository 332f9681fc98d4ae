"""Policies are kept by their version."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwatch.errors import Corrupt
from scorers.policy import Policy, TenantPolicy, load_policy
from scorers.policy_history import PolicyHistory


def test_a_policy_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "default: {weights: {neighbourhood: 0.7}, levels: {MEDIUM: 0.4}}\n"
        "tenants:\n  shop: {alerting: {budget: {alerts_per_day: 40}}}\n  acme: {actions: {HIGH: block}}\n"
    )
    policy, history = load_policy(file), PolicyHistory(tmp_path)
    assert history.policy(policy.version) is None
    history.keep(policy)
    history.keep(policy)
    history.keep(Policy())
    found = history.policy(policy.version)
    assert found is not None
    assert (found.version, found.default, found.tenants) == (policy.version, policy.default, policy.tenants)
    assert history.policy(Policy().version) is not None
    assert history.policy("../policy") is None
    assert not [p for p in (tmp_path / "policies").iterdir() if p.suffix != ".json"]


def test_what_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    history, policy = PolicyHistory(tmp_path), Policy()
    history.keep(policy)
    path = tmp_path / "policies" / f"{policy.version}.json"
    path.write_text(path.read_text().replace("0.85", "0.95"))
    with pytest.raises(Corrupt, match="holds the policy"):
        history.policy(policy.version)
    path.write_text("{")
    with pytest.raises(Corrupt, match=policy.version):
        history.policy(policy.version)


def test_a_policy_of_other_fields_is_told_by_its_version() -> None:
    assert Policy(TenantPolicy(other_weight=0.7)).version != Policy().version
