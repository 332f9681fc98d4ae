"""What every resolver needs: the service, who asks, and how fields are described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import strawberry
from strawberry.types import Info

from api.keys import Caller
from api.served import Served
from ringwatch.errors import BadInput


@dataclass(frozen=True, slots=True)
class Context:
    """What the resolvers need: the service, and who asks; whose data it is follows from that."""

    here: Served
    who: Caller

    @property
    def tenant(self) -> str:
        return self.who.tenant


def context_of(info: Info[Any, Any]) -> Context:
    found = info.context
    assert isinstance(found, Context)
    return found


def described(description: str) -> Callable[[Callable[..., Any]], Any]:
    """A resolver with what it is for."""
    made: Callable[[Callable[..., Any]], Any] = strawberry.field(description=description)
    return made


def bounded(first: int, most: int) -> int:
    if not 1 <= first <= most:
        raise BadInput(f"first is {first}", hint=f"1 to {most}", field="first")
    return first
