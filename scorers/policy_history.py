"""Policies that decided here, by their version: what was decided by one can be made anew once another is in force."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ringwatch.errors import Corrupt
from scorers.policy import Policy, TenantPolicy


class _Kept(msgspec.Struct):
    default: TenantPolicy
    tenants: dict[str, TenantPolicy]


class PolicyHistory:
    """A folder of the data folder, one file a version. Several processes may use it."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "policies"

    def keep(self, policy: Policy) -> None:
        path = self._path(policy.version)
        if path.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(_Kept(policy.default, policy.tenants))))
        beside.replace(path)

    def policy(self, version: str) -> Policy | None:
        """None where it is not kept. Raises Corrupt for one that was changed by hand."""
        path = self._path(version)
        if not version.isalnum() or not path.exists():
            return None
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path}: {error}", hint="delete it: decisions it made cannot be made anew then") from None
        found = Policy(kept.default, kept.tenants)
        if found.version != version:
            raise Corrupt(f"{path} holds the policy {found.version}", hint="it was changed: restore it, or delete it")
        return found

    def _path(self, version: str) -> Path:
        return self._folder / f"{version}.json"
