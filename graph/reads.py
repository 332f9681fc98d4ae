"""What people read of a graph: the same for every engine that can answer `LinkReader`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from graph.path import path_between
from graph.store import EVERY_LINK, EntityRef, LinkFilter, Neighbourhood, Path, StoredEntity, Surroundings
from graph.traverse import LinkReader, walk
from graph.uid import ref_of, uid_of
from ringwatch.errors import BadInput, NotFound

T = TypeVar("T")


class GraphReads:
    """See `GraphStore` for what each gives."""

    def _asking(self, name: str, work: Callable[[LinkReader], T]) -> T:
        """Give a reader that sees one state of the graph to `work`; `name` is for messages."""
        raise NotImplementedError

    def neighbourhood(
        self,
        root: EntityRef,
        *,
        hops: int = 2,
        degree_cap: int = 50,
        limit: int = 500,
        wanted: LinkFilter = EVERY_LINK,
    ) -> Neighbourhood:
        for name, value, least in (("hops", hops, 0), ("degree_cap", degree_cap, 1), ("limit", limit, 1)):
            if value < least:
                raise BadInput(f"neighbourhood {name}={value}", hint=f"{name} is at least {least}")

        def work(reader: LinkReader) -> Neighbourhood | None:
            return walk(reader, uid_of(root), hops=hops, degree_cap=degree_cap, limit=limit, wanted=wanted)

        found = self._asking("neighbourhood", work)
        if found is None:
            raise NotFound(
                f"no {root.kind} {root.id!r} in tenant {root.tenant!r}",
                hint="the graph knows an entity once an event that names it has been written; check kind and id",
            )
        return found

    def path(
        self, start: EntityRef, end: EntityRef, *, max_hops: int = 6, degree_cap: int = 200, limit: int = 2000
    ) -> Path | None:
        return self._asking(
            "path",
            lambda reader: path_between(
                reader, start, end, max_hops=max_hops, degree_cap=degree_cap, limit=limit
            ),
        )  # fmt: skip

    def surroundings(
        self, refs: Sequence[EntityRef], *, also: Sequence[EntityRef] = (), cap: int, limit: int
    ) -> Surroundings:
        def work(reader: LinkReader) -> Surroundings:
            near = reader.links_of([uid_of(ref) for ref in refs], cap=cap, wanted=EVERY_LINK) if refs else {}
            linked = {ref_of(uid): [ref_of(link.other) for link in found.links] for uid, found in near.items()}
            far = dict.fromkeys([*also, *(ref for some in linked.values() for ref in some)])
            uids = [uid_of(ref) for ref in far][:limit]
            known: list[StoredEntity] = list(reader.entities(uids).values()) if uids else []
            degrees = {ref_of(uid): found.degree for uid, found in near.items()}
            return Surroundings({e.ref: e for e in known}, linked, degrees)

        return self._asking("surroundings", work)
