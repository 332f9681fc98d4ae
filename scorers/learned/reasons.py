"""What a learned model looked at, in words: exact contributions of its inputs (TreeSHAP), those of one entity together.

Inputs that are scores of other scorers speak with the findings of those scorers. What a model has against the suspicion is not a reason;
the share of the score is divided among what speaks for it, in proportion to the log-odds it adds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.schema import Feature, FeatureSchema
from ringwatch.model import Reason, type_names
from scorers.clues import shown_as
from scorers.learned.inputs import LEARNED
from scorers.learned.model import NETWORK, Addends
from scorers.scorer import Batch, Scorer

_NAMED = 3
"""Inputs named in a reason, the strongest first."""
_IN_FULL = 8
"""Reasons that say more than what they are about: as many as an assessment shows."""
_SCORER = "scorer"
_PART = re.compile(r"[;,:(]")
_ITS = {"the entity's": "its", " of the entity": "", " in the window": "", "of them": "users that joined", "_": " "}
_MONEY = shown_as("minor units")
_SHOWN = ("s", "share", "minor units", "0..1", "code", "h")
"""Units that a value is written with, or needs none of."""


def reasons(
    batch: Batch, row: int, share: float, addends: Addends, at: int, scorers: Mapping[str, Scorer], patterns: Sequence[str],
) -> list[Reason]:  # fmt: skip
    """Reasons of an event that carry `share` of its score, by row `at` of the addends. Named `patterns` say theirs even where the
    model makes nothing of them."""
    owners, of = _owners(addends.names)
    log_odds = addends.log_odds[at, : len(of)]
    added = dict(zip(owners, np.bincount(of, log_odds, len(owners)).tolist(), strict=True))
    strongest = _strongest(owners, of, log_odds)
    total = sum(x for x in added.values() if x > 0.0)
    found: list[Reason] = []
    told: set[str] = set()
    worded = 0
    for owner, x in sorted(added.items(), key=lambda item: (-item[1], item[0])):
        if x <= 0.0:
            break
        part = share * x / total
        name = owner.removeprefix(f"{_SCORER}.")
        said = _of_scorer(batch, row, part, scorers[name]) if name != owner and name in scorers else []
        if said:
            told.add(name)
        else:
            inputs = strongest[owner] if worded < _IN_FULL else []
            said = [
                _of_inputs(batch, row, part, owner, {addends.names[j]: float(addends.values[at, j]) for j in inputs})
            ]
            worded += 1
        found += said
    for name in patterns:
        if name not in told:
            found += _of_scorer(batch, row, 0.0, scorers[name])
    if total <= 0.0:
        words = "nothing in particular: what is left is how common fraud is"
        found.append(Reason(f"{LEARNED}.nothing", words, share))
    return found


@lru_cache(64)
def _owners(names: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Whom inputs are about (a kind, two of them (`user/device`), `event`, `ring`, or `scorer.<name>`), and of each input which of these."""
    of = [name if name.startswith(f"{_SCORER}.") else name.partition(".")[0] for name in names]
    owners = tuple(dict.fromkeys(of))
    return owners, np.array([owners.index(owner) for owner in of], np.int64)


def _of_scorer(batch: Batch, row: int, part: float, scorer: Scorer) -> list[Reason]:
    findings = scorer.explain(batch, row)
    total = sum(f.weight for f in findings)
    if total <= 0.0:
        return []
    return [Reason(f"{scorer.name}.{f.code}", f.text, part * f.weight / total, f.kind, f.entity) for f in findings]


def _strongest(owners: tuple[str, ...], of: NDArray[np.int64], log_odds: NDArray[np.float64]) -> dict[str, list[int]]:
    """Of each owner at most three inputs that speak for fraud, the strongest first."""
    found: dict[str, list[int]] = {owner: [] for owner in owners}
    order = np.argsort(-log_odds, kind="stable")[: np.count_nonzero(log_odds > 0.0)]
    for j, owner in zip(order.tolist(), of[order].tolist(), strict=True):
        if len(mine := found[owners[owner]]) < _NAMED:
            mine.append(j)
    return found


def _of_inputs(batch: Batch, row: int, part: float, owner: str, inputs: Mapping[str, float]) -> Reason:
    """`inputs`: those that are told, by name; none where the reason is among the weak ones."""
    kind, code, text = _about(owner)
    entity = batch.ring_id(row) if kind == "ring" else batch.events[row].entities.get(kind)
    if inputs:
        text = f"{text}: {'; '.join(in_words(batch.schema, name, value) for name, value in inputs.items())}"
    return Reason(code, text, part, kind if entity is not None else None, entity)


@lru_cache(1024)
def _about(owner: str) -> tuple[str, str, str]:
    """Kind, code and words."""
    code = f"{LEARNED}.{owner.replace('/', '_').replace('.', '_')}"
    return owner.rpartition("/")[2], code, owner.partition(".")[0].replace("/", " and ").replace("_", " ")


def in_words(schema: FeatureSchema, name: str, value: float) -> str:
    """An input with its value and unit: `distinct linked entities active in the window (24h): 9`."""
    return _of_name(schema, name)(value)


@lru_cache(4096)
def _of_name(schema: FeatureSchema, name: str) -> Callable[[float], str]:
    owner, _, rest = name.partition(".")
    if owner == _SCORER:
        return lambda x: f"{rest.replace('_', ' ')} says {_unknown(x, '{:.2f}')}"
    if name == NETWORK:
        return lambda x: f"its entities and what happened to them say {_unknown(x, '{:.2f}')}"
    if (column := schema.index.get(name)) is not None:
        return _of_feature(schema.features[column])
    if "/" in owner:
        one, other = owner.split("/")
        measured = "amount" if rest.startswith("amount") else "events"
        window = rest.removesuffix("_minor").rpartition("_")[2]
        times = f"{measured} of the {one.replace('_', ' ')} over those of the {other.replace('_', ' ')} ({window})"
        return lambda x: f"{times}: {_unknown(float(np.exp(x)), '{:.2g}')}"
    return lambda x: f"mean amount ({rest.rpartition('_')[2]}): {_MONEY(float(np.expm1(x)))}"


def _of_feature(feature: Feature) -> Callable[[float], str]:
    """The first part of its definition, where the rest is how it is counted."""
    whole, unit = feature.definition, feature.unit
    if logarithm := unit.startswith("log"):
        whole = whole.removeprefix("natural ").removeprefix("log of ").replace("(", "").replace(")", "")
    what = _PART.split(whole)[0].strip()
    for word, instead in _ITS.items():
        what = what.replace(word, instead)
    window = f" ({feature.window})" if feature.window not in ("", "all") else ""
    if unit == "0/1":
        return lambda x: f"{what.removeprefix('1 when ')}: {'unknown' if x != x else 'yes' if x > 0.0 else 'no'}"
    if unit == "log minor units":
        return lambda x: f"amount: {_MONEY(float(np.expm1(x)))}"
    if logarithm:
        return lambda x: f"{what}{window}: {_unknown(float(np.exp(x)), '{:,.3g}')}"
    if feature.name == "event.type":
        return lambda x: f"type: {type_names[int(x)].replace('_', ' ')}"
    show = shown_as(unit)
    behind = "" if unit in _SHOWN or unit in what else f" {unit}"
    return lambda x: f"{what}{window}: {show(x)}{behind if x == x else ''}"


def _unknown(x: float, form: str) -> str:
    return "unknown" if x != x else form.format(x)
