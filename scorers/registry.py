"""Finds the detectors: every file in `scorers/detectors/` that has a `build`, in name order."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import scorers.detectors
from ringwatch.errors import BadInput, did_you_mean
from scorers.detectors.listed import Listed
from scorers.detectors.rules import Rules
from scorers.learned.inputs import OF_MODELS
from scorers.lists import Lists
from scorers.rules.book import RuleBook
from scorers.scorer import Scorer


def detector_names() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(scorers.detectors.__path__))


def build_scorers(
    *,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    lists: Lists | None = None,
    rules: RuleBook | None = None,
) -> tuple[Scorer, ...]:
    """All detectors. Raises BadInput for an override of an unknown detector, and for a file that is not a detector."""
    overrides = overrides or {}
    names = detector_names()
    for name in overrides:
        if name not in names:
            raise BadInput(f"there is no detector {name!r}", hint=did_you_mean(name, names))
    built: dict[str, Scorer] = {}
    for module_name in names:
        scorer = _build(module_name, overrides.get(module_name, {}))
        if scorer.name in built or scorer.name in OF_MODELS:
            raise BadInput(
                f"detectors/{module_name}.py: the name {scorer.name!r} is taken", hint="give it another name"
            )
        if isinstance(scorer, Listed) and lists is not None:
            scorer.lists = lists
        if isinstance(scorer, Rules) and rules is not None:
            scorer.use(rules)
        built[scorer.name] = scorer
    return tuple(built.values())


def _build(module_name: str, overrides: Mapping[str, Any]) -> Scorer:
    module = importlib.import_module(f"scorers.detectors.{module_name}")
    build = getattr(module, "build", None)
    if build is None:
        raise BadInput(f"detectors/{module_name}.py has no build(overrides)", hint="see CONTRIBUTING: add a detector")
    scorer: Scorer = build(overrides)
    missing = [name for name in ("name", "version", "score", "explain") if not hasattr(scorer, name)]
    if missing or not type(scorer).__doc__:
        lacks = ", ".join(missing) or "a docstring on its class"
        raise BadInput(f"detectors/{module_name}.py builds something without {lacks}", hint="see scorers/scorer.py")
    return scorer
