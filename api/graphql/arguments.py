"""Arguments that several fields take, each with what it means; those of one field alone are told in its description, by name."""

from __future__ import annotations

from typing import Annotated

import strawberry

First = Annotated[int, strawberry.argument(description="How many at most, 1 or more")]
After = Annotated[
    str | None,
    strawberry.argument(
        description="A cursor of this list, with the same filters and order: what lies behind it; null: from the beginning"
    ),
]
Since = Annotated[str | None, strawberry.argument(description="Then or later: ISO 8601 with a zone; null: no bound")]
Until = Annotated[str | None, strawberry.argument(description="Before then: ISO 8601 with a zone; null: no bound")]
AlertId = Annotated[str, strawberry.argument(description="Of the alert")]
CaseId = Annotated[str, strawberry.argument(description="Of the case")]
EventId = Annotated[str, strawberry.argument(description="Of the event, as it was sent")]
RingId = Annotated[str, strawberry.argument(description="Of the ring: 16 hexadecimal digits")]
ActId = Annotated[str, strawberry.argument(description="Of the act")]
Kind = Annotated[str, strawberry.argument(description="Kind of the entity: user, device, card, address, ...")]
EntityId = Annotated[str, strawberry.argument(description="The entity's whole identifier")]
OfAlert = Annotated[str | None, strawberry.argument(description="Of an alert; null where `eventId` is given")]
OfEvent = Annotated[str | None, strawberry.argument(description="Of an event; null where `alertId` is given")]
OfKind = Annotated[str | None, strawberry.argument(description="Kind of the entity; null where a ring is meant")]
OfEntity = Annotated[
    str | None, strawberry.argument(description="The entity's whole identifier; null where a ring is meant")
]
OfRing = Annotated[str | None, strawberry.argument(description="Of the ring; null where an entity is meant")]
Why = Annotated[str, strawberry.argument(description="Why; stands in the audit trail")]
Version = Annotated[
    int | None,
    strawberry.argument(
        description="`version` of the case as it was seen: refused as a conflict where it was changed since; null: whatever it is now"
    ),
]
