"""The GraphQL schema: what an investigator asks and does. Resolvers are plain functions of a worker thread."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.extensions import MaxTokensLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, Info
from strawberry.types.graphql import OperationType

from api import reads
from api.graphql import explained as x
from api.graphql import types as t
from api.graphql.alerts import AlertQueries
from api.graphql.arguments import EventId, OfAlert, OfEvent
from api.graphql.cases import CaseMutations, CaseQueries
from api.graphql.checked import Checked
from api.graphql.configured import ConfiguredQueries
from api.graphql.context import context_of, described
from api.graphql.deciding import DecidingMutations, DecidingQueries
from api.graphql.entities import EntityQueries
from api.graphql.erasing import ErasingMutations
from api.graphql.limits import MOST_TOKENS
from api.graphql.rings import RingQueries
from api.graphql.streams import Subscription
from explain.replay import replay


@strawberry.type(description="What there is to ask. Everything is of the tenant of whoever asks")
class Query(AlertQueries, CaseQueries, RingQueries, EntityQueries, DecidingQueries, ConfiguredQueries):
    @described("What an event was given; null when it is not known")
    def assessment(self, info: Info[Any, Any], event_id: EventId) -> t.Assessment | None:
        context = context_of(info)
        found = context.here.ledger.stored(context.tenant, event_id) if reads.is_id(event_id) else None
        return None if found is None else t.assessment_of(found, reads.alert_event(found).features)

    @described("Why an event was given what it was, from what was stored with the decision; of an alert its highest scored event. Null when "
               "there is none")  # fmt: skip
    def explanation(
        self, info: Info[Any, Any], alert_id: OfAlert = None, event_id: OfEvent = None
    ) -> x.Explanation | None:
        context = context_of(info)
        found = reads.decided(context.here, context.tenant, alert_id, event_id)
        return None if found is None else x.explanation_of(reads.explained(context.here, found), found)

    @described("A decision made anew from what was stored with it: identical to the bit, or what differs; of an alert its highest scored "
               "event. Null when there is none")  # fmt: skip
    def replay(self, info: Info[Any, Any], alert_id: OfAlert = None, event_id: OfEvent = None) -> x.Replay | None:
        context = context_of(info)
        found = reads.decided(context.here, context.tenant, alert_id, event_id)
        return None if found is None else x.replay_of(replay(context.here.past, found))


@strawberry.type(
    description="What people do; all of it is in the audit trail. Needs a key or a token that may `act`, or what stands at the field"
)
class Mutation(CaseMutations, DecidingMutations, ErasingMutations):
    pass


class Schema(strawberry.Schema):
    """Says nothing by itself when a resolver fails: the route logs and answers."""

    def process_errors(self, errors: list[Any], execution_context: ExecutionContext | None = None) -> None:
        return

    async def stream(self, *args: Any, **more: Any) -> Any:
        """Over WebSocket: subscriptions only; resolvers of the rest would hold the event loop up."""
        return await super().stream(*args, **{**more, "allowed_operation_types": (OperationType.SUBSCRIPTION,)})


schema = Schema(
    Query,
    Mutation,
    Subscription,
    config=StrawberryConfig(scalar_map={t.Long: t.LONG}),
    extensions=[lambda: MaxTokensLimiter(MOST_TOKENS), Checked],
)
