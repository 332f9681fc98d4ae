"""Everything the routes need of the rest, as one value; made by `ringwatch serve`, handed to the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from api.engine import Engine
from api.feed import Feed
from api.guard import Access
from api.keys import Caller
from api.meters import Meters
from desk.case_keeper import CaseKeeper
from desk.store import Desk
from explain.past import Past
from graph.store import GraphStore
from ingest.intake import Intake
from ledger.queries import LedgerQueries
from rings.words import Money
from ringwatch.model import Kind
from roles.metrics import troubles_of
from roles.role import Role


@dataclass(frozen=True, slots=True)
class Served:
    engine: Engine
    intake: Intake
    ledger: LedgerQueries
    graph: GraphStore | None
    past: Past
    desk: Desk
    decided: Callable[[], None]
    """Have the scorers here look at what was decided at the desk, now."""
    cases: CaseKeeper
    feed: Feed
    kinds: Sequence[Kind]
    access: Access
    meters: Meters
    clock: Callable[[], float]
    """Seconds since 1970."""
    version: str
    introspection: bool = True
    """Whether GraphQL tells its schema; it is in the documentation anyway."""
    graphql_deadline_s: float = 10.0
    """How long an answer of GraphQL may take."""
    money: Money = field(default_factory=Money)
    roles: Sequence[Role] = ()
    """What else this process does, where several share the work."""

    def degraded(self) -> list[str]:
        """What is not as it should be, now."""
        engine = self.engine
        found = list(engine.glance.degraded)
        if not engine.alive and "halted" not in found:
            found.insert(0, "halted")
        if self.graph is None:
            found.append("no_graph")
        if self.cases.trouble:
            found.append("cases")
        found += self.access.troubles()
        found += troubles_of(self.roles)
        return found

    @property
    def ready(self) -> bool:
        return self.engine.alive and all(role.status.ready for role in self.roles)


def served(request: Request) -> Served:
    found: Any = request.scope["ringwatch.served"]
    assert isinstance(found, Served)
    return found


def caller(request: Request) -> Caller:
    """Set by the guard; without it nothing is answered."""
    found = request.scope["ringwatch.caller"]
    assert isinstance(found, Caller)
    return found
