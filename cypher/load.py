"""Query text by name. A file holds one statement under a header of `// params:` and `// returns:`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from ringwatch.errors import NotFound


@cache
def load(engine: str) -> dict[str, str]:
    """Statements of an engine ("ladybug"), name -> text without its header. Raises `NotFound` for another engine."""
    folder = files("cypher") / engine
    if not folder.is_dir():
        raise NotFound(f"no Cypher for engine {engine!r}", hint="add a folder cypher/<engine>/ with its statements")
    statements = [f for f in folder.iterdir() if f.name.endswith(".cypher")]
    texts = {f.name.removesuffix(".cypher"): f.read_text("utf-8") for f in statements}
    return {name: "\n".join(x for x in text.splitlines() if not x.startswith("//")) for name, text in texts.items()}
