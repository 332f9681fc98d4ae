"""The values that cross folders. Frozen, slotted, and free of any connection or file.

Times are integers: microseconds since 1970-01-01 UTC (`_us`). Amounts are integers in minor units (`_minor`).
Identifiers are opaque strings of 1 to 256 characters.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

type_names = (
    "signup",
    "login",
    "profile_change",
    "session_step",
    "payment",
    "order",
    "refund",
    "promo_redeem",
    "cart_hold",
    "price_change",
    "stock_change",
)
"""Every event type but `label` (a label is its own value, `Label`), in the order of their codes."""

TYPE_CODES: dict[str, int] = {name: code for code, name in enumerate(type_names)}

Outcome = Literal["approved", "declined", "success", "failed"]
LabelValue = Literal["fraud", "good"]
Scalar = str | int | float | bool

MICROSECONDS = 1_000_000
MINUTE_US = 60 * MICROSECONDS
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


class Strength(IntEnum):
    """How an entity kind links its users: into rings (STRONG), as supporting evidence (WEAK), not at all (NONE)."""

    NONE = 0
    WEAK = 1
    STRONG = 2


class Kind(msgspec.Struct, frozen=True):
    """A declared entity kind.

    `crowded` kinds (an ip, a merchant) are shared by many honest users: scorers do not hold a high count against them,
    and stores treat their increments as commutative.
    """

    name: str
    strength: Strength
    crowded: bool = False


BUILTIN_KINDS: tuple[Kind, ...] = (
    Kind("user", Strength.NONE),
    Kind("device", Strength.STRONG),
    Kind("card", Strength.STRONG),
    Kind("address", Strength.STRONG),
    Kind("email", Strength.STRONG),
    Kind("phone", Strength.STRONG),
    Kind("bank_account", Strength.STRONG),
    Kind("ip", Strength.WEAK, crowded=True),
    Kind("merchant", Strength.WEAK, crowded=True),
    Kind("promo", Strength.WEAK, crowded=True),
    Kind("session", Strength.NONE),
    Kind("sku", Strength.NONE, crowded=True),
)
MAX_KINDS = 16
"""Built-in and declared kinds together; the state record has a fixed place for each."""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened, already validated and normalised (see `ingest/events.py`)."""

    event_id: str
    type: str
    at_us: int
    entities: dict[str, str]
    """kind -> id, the user included; only kinds that are present."""
    tenant: str = "default"
    amount_minor: int | None = None
    """In the tenant's currency; None when the event has no amount or no rate was known (`degraded` says no_fx)."""
    currency: str | None = None
    """The currency the amount arrived in (ISO 4217)."""
    lat: float | None = None
    lon: float | None = None
    country: str | None = None
    """ISO 3166-1 alpha-2, upper case."""
    category: str | None = None
    channel: str | None = None
    user_agent: str | None = None
    order_id: str | None = None
    quantity: int | None = None
    unit_price_minor: int | None = None
    stock_after: int | None = None
    step: str | None = None
    outcome: Outcome | None = None
    outcome_code: str | None = None
    attributes: dict[str, Scalar] = {}
    degraded: tuple[str, ...] = ()
    """What was missing when the event was normalised, for example ("no_fx",)."""

    @property
    def user(self) -> str | None:
        return self.entities.get("user")


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """What turned out true, and when that was known. `target_kind` is "event" or an entity kind."""

    target_kind: str
    target_id: str
    label: LabelValue
    known_at_us: int
    tenant: str = "default"


class Refusal(msgspec.Struct, frozen=True):
    """A record that could not become an event: the dead letter with its reason, place and bytes."""

    reason: str
    """One line that names the field, the value (never a card number) and what is accepted."""
    source: str
    position: int
    """Record number within the source, from 1."""
    raw: bytes
    """The bytes as read, cut at the dead-letter limit, card numbers masked."""
    code: str = "invalid"
    """Machine-readable: invalid, card_number, time, encoding, too_long, duplicate, conflict, ..."""


Item = Event | Label | Refusal


class Level(IntEnum):
    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class Action(IntEnum):
    ALLOW = 0
    REVIEW = 1
    CHALLENGE = 2
    BLOCK = 3


class Reason(msgspec.Struct, frozen=True):
    """Why a score is what it is, in words a person can read and a code a program can group by."""

    code: str
    """Stable, `scorer.what` in snake case, for example `neighbourhood.shared_device`."""
    text: str
    contribution: float
    """Share of the final score this reason carries, 0..1; the reasons of an assessment add up to its score."""
    kind: str | None = None
    entity: str | None = None
    """The entity the reason is about, when there is one: alerts group by it."""


class Versions(msgspec.Struct, frozen=True):
    """Everything that must be the same for a replay to give the same number."""

    schema: str
    """Hash of the feature schema."""
    scorers: dict[str, str]
    """name -> version of each scorer that was asked."""
    policy: str


class Assessment(msgspec.Struct, frozen=True):
    """The answer for one event: never a number without its reasons, versions, timing and what was degraded."""

    event_id: str
    tenant: str
    at_us: int
    user: str | None
    score: float
    level: str
    action: str
    scores: dict[str, float | None]
    """One entry a scorer; None where it abstained."""
    reasons: tuple[Reason, ...]
    versions: Versions
    timing_us: dict[str, float]
    """stage -> microseconds, the event's share of its batch."""
    degraded: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    """Fraud patterns at or over their own alert threshold, strongest first."""
    ring: str | None = None
    """The ring of the event's user as of the event."""
    ring_age_s: float | None = None
    """Event time since the last mark of the ring data that was used: up to the distance of marks (6 h), more where it stood still
    meanwhile; None where there was none."""
    embedding_age_s: float | None = None
    """Event time since the mark of the oldest embedding that a model's graph network was asked with; None where none was."""


class Alert(msgspec.Struct, frozen=True):
    """A group of assessments worth a person's time: same tenant, entity and reason within the grouping window."""

    alert_id: str
    tenant: str
    kind: str
    entity: str
    reason: str
    first_at_us: int
    last_at_us: int
    events: int
    score: float
    """Highest score in the group."""
    level: str
    delivery: Literal["now", "digest"]
    text: str
    """The reason in words, of the highest-scored event."""
    amount_minor: int = 0
    """Sum over the group's events."""
    first_event_id: str = ""
    top_event_id: str = ""
    patterns: tuple[str, ...] = ()
    """Fraud patterns named by any of its events, sorted."""
    accounts: tuple[str, ...] = ()
    """Accounts concerned: of its events, and those linked to what its reasons name; in order of coming, at most 200."""
    ring: str = ""
    """The ring it is about; a ring's alert has the kind "ring"."""
