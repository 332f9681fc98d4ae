"""What every resolver needs: the service, who asks, and how fields are described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import strawberry
from strawberry.types import Info

from api.graphql.loads import Loads
from api.keys import Caller
from api.served import Served
from ringwatch import deadline
from ringwatch.errors import BadInput


def _still() -> None:
    return


@dataclass(frozen=True, slots=True)
class Context:
    """What the resolvers need: the service, and who asks; whose data it is follows from that."""

    here: Served
    who: Caller
    check: Callable[[], None] = _still
    """Raises Denied where who asks may not any more: for what goes on for long."""
    loads: Loads = field(default_factory=Loads)
    """Of one answer."""

    @property
    def tenant(self) -> str:
        return self.who.tenant


class Connection:
    """A WebSocket: what the handshake said, and the context once it is known who asks. `connection_params` is the payload of its first message."""

    def __init__(self, here: Served, authorization: str, api_key: str) -> None:
        self.here = here
        self.connection_params: dict[str, Any] = {}
        self.context: Context | None = None
        self._authorization, self._api_key = authorization, api_key

    async def admit(self) -> None:
        """Raises Denied where nobody is who may read, Unavailable where they ask too often."""
        given = self.connection_params.get("authorization", "")
        if isinstance(given, str) and given and not (self._authorization or self._api_key):
            self._authorization = given
        who = await self.here.access.admitted(self._authorization, self._api_key)
        who.need("read")
        self.context = Context(self.here, who, self._check)

    def _check(self) -> None:
        self.here.access.caller(self._authorization, self._api_key).need("read")


def context_of(info: Info[Any, Any]) -> Context:
    """Raises TooLong where the time of the answer is over."""
    deadline.check()
    found = info.context
    if isinstance(found, Connection):
        found = found.context
    assert isinstance(found, Context)
    return found


def of(description: str) -> Any:
    """A field with what it is."""
    return strawberry.field(description=description)


def described(description: str) -> Callable[[Callable[..., Any]], Any]:
    """A resolver with what it is for."""
    made: Callable[[Callable[..., Any]], Any] = strawberry.field(description=description)
    return made


def streamed(description: str) -> Callable[[Callable[..., Any]], Any]:
    """A subscription with what it is for."""
    made: Callable[[Callable[..., Any]], Any] = strawberry.subscription(description=description)
    return made


def bounded(first: int, most: int) -> int:
    if not 1 <= first <= most:
        raise BadInput(f"first is {first}", hint=f"1 to {most}", field="first")
    return first
