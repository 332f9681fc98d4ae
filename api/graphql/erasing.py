"""Erasing a person's fields over GraphQL."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from api.graphql.arguments import Why
from api.graphql.context import Context, context_of, described
from api.graphql.deciding import Refused, or_refused
from desk.erasure import erase


@strawberry.type(description="What was erased of a user")
class Erasure:
    token: str = strawberry.field(description="Stands for the user in the audit trail, as the target of kind subject")
    key: bool = strawberry.field(description="Whether there was a key: what it sealed cannot be read any more")
    events: int = strawberry.field(description="Events of the user, without their personal fields now")
    out_of_files: bool = strawberry.field(description="Whether nothing of it is left in the database's files")


ErasureResult = Annotated[
    Erasure | Refused, strawberry.union("ErasureResult", description="What was erased, or why nothing was")
]


@strawberry.type
class ErasingMutations:
    @described("Erase the personal fields of the events of `user` (its identifier, or the token that stands for it), for good: user agent, place, "
               "order and attributes. Decisions, alerts and links stay, by id. Needs a key that may `erase`")  # fmt: skip
    def erase(self, info: Info[Any, Any], user: str, reason: Why) -> ErasureResult:
        return or_refused(lambda: _erase(context_of(info), user, reason))


def _erase(context: Context, user: str, reason: str) -> Erasure:
    context.who.need("erase")
    here = context.here
    names = dict.fromkeys((user, here.intake.token(context.tenant, "user", user)))
    found = erase(here.desk, here.ledger.eraser(), context.tenant, list(names), context.who.name, reason)
    return Erasure(token=found.token, key=found.key, events=found.events, out_of_files=found.out_of_files)
