"""`compiled`: numba.njit with a cache that no change of the sources can make stale.

numba's own cache looks only at the file of the function it compiles, not at the functions and constants it inlines from
other files. So the cached code of a folder lives in one named after a hash of all its sources. Where the installed
package cannot be written (a read-only image), nothing is cached and the first batch waits for the compiler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])


def _source_hash(folder: Path) -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _cache_folder(here: Path) -> str | None:
    folder = here / "__pycache__" / f"compiled-{_source_hash(here)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder)


class _SourceKeyedCache(FunctionCache):
    """numba's function cache, stored in the folder named after the hash of all sources."""

    def __init__(self, py_func: Callable[..., Any], folder: str) -> None:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder
        try:
            super().__init__(py_func)
        finally:
            numba.config.CACHE_DIR = before


def compiler(here: Path) -> Callable[[F], F]:
    """A decorator for the functions of one folder: compiles on first call, exact float semantics (no fast-math), no exceptions on
    division, GIL released."""
    folder = _cache_folder(here)

    def compile_one(function: F) -> F:
        dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=False)(function)
        if folder is not None:
            dispatcher._cache = _SourceKeyedCache(function, folder)
        return dispatcher

    return compile_one


_CACHE_FOLDER = _cache_folder(Path(__file__).parent)
compiled = compiler(Path(__file__).parent)
