"""Which models serve: the registry's aliases and the shelf's files, changed together.

The shelf comes first: it is what serves, and a change that was cut off before the registry heard of it is finished by the same command again.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.shelf import Serving, Shelf
from training.registry import CHALLENGER, CHAMPION, MODEL, Registry, Version

_TOLD = ("roc_auc", "average_precision", "brier")
_LOWER_IS_BETTER = frozenset({"brier", "ece"})


def promote(registry: Registry, shelf: Shelf, number: str, alias: str = CHAMPION) -> tuple[Version, list[str]]:
    """From now on a version serves under an alias. With what speaks against it, in words. Raises BadInput, NotFound."""
    _checked(alias)
    version = registry.version(number)
    before = registry.aliased(CHAMPION)
    doubts = against(version, before) if alias == CHAMPION and before is not None else []
    champions = registry.champions_before
    if alias == CHAMPION and before is not None and before.number != version.number:
        champions = _with(champions, before.number)
    _serve(registry, shelf, version, alias, champions)
    return registry.version(version.number), doubts


def retire(registry: Registry, shelf: Shelf, alias: str = CHAMPION) -> Version:
    """The version that served under an alias does not any more, and no other does. Raises BadInput, NotFound where there is none."""
    _checked(alias)
    version = registry.aliased(alias)
    if version is None:
        raise NotFound(f"no model serves as {alias}", hint="`ringwatch models list` names those that do")
    shelf.serve(msgspec.structs.replace(_served(shelf), **{alias: None}))
    if alias == CHAMPION:
        registry.remember_champions(_with(registry.champions_before, version.number))
    registry.alias(alias, None)
    return registry.version(version.number)


def rollback(registry: Registry, shelf: Shelf) -> Version | None:
    """The champion before serves again; before the first one that was the robust rule, then None. Raises NotFound where none ever was."""
    before = registry.champions_before
    if not before:
        retire(registry, shelf)
        registry.remember_champions([])
        return None
    version = registry.version(before[-1])
    _serve(registry, shelf, version, CHAMPION, before[:-1])
    return registry.version(version.number)


def against(version: Version, champion: Version) -> list[str]:
    """What the figures say against it as champion, a sentence each."""
    if version.number == champion.number:
        return []
    if version.holdout != champion.holdout:
        return [f"figures of {version.number} and of the champion {champion.number} are of other held-out rows"]
    found = []
    for name in _TOLD:
        mine, its = version.metrics.get(name), champion.metrics.get(name)
        if mine is not None and its is not None and (mine > its if name in _LOWER_IS_BETTER else mine < its):
            words = name.replace("_", " ")
            found.append(
                f"{words} is {mine:.4f}, of the champion {champion.number} {its:.4f} on the same held-out rows"
            )
    return found


def _checked(alias: str) -> None:
    if alias not in (CHAMPION, CHALLENGER):
        raise BadInput(f"{alias!r} is nothing that a model serves as", hint=f"{CHAMPION} or {CHALLENGER}")


def _with(champions: list[str], number: str) -> list[str]:
    """Once, where a change that was cut off is made again."""
    return champions if champions[-1:] == [number] else [*champions, number]


def _serve(registry: Registry, shelf: Shelf, version: Version, alias: str, champions: list[str]) -> None:
    """A model has one alias: a challenger that becomes champion is no challenger any more, and the other way round. `champions`: those
    before, from now on."""
    with TemporaryDirectory(prefix="ringwatch-") as folder:
        placed = shelf.put(version.number, registry.fetch(version, MODEL, Path(folder)), version.sha256)
    serving = msgspec.structs.replace(_served(shelf), **{alias: placed})
    other = CHALLENGER if alias == CHAMPION else CHAMPION
    if getattr(serving, other) == placed:
        serving = msgspec.structs.replace(serving, **{other: None})
    shelf.serve(serving)
    registry.remember_champions(champions)
    registry.alias(alias, version.number)
    if getattr(serving, other) is None:
        registry.alias(other, None)


def _served(shelf: Shelf) -> Serving:
    """None where the list cannot be read: it is written anew."""
    try:
        return shelf.serving()
    except Corrupt:
        return Serving()
