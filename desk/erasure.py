"""Erasing what is known of a person, and that it was done: in the audit trail, by a token instead of the id."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from desk.store import Act, Desk
from desk.verdicts import check_words
from ledger.erasure import Eraser
from ringwatch.errors import NotFound


class Erasure(msgspec.Struct, frozen=True):
    """What was erased."""

    tenant: str
    token: str
    """Stands for the user in the audit trail; the same each time."""
    key: bool
    """Whether there was a key: what was sealed by it cannot be read any more."""
    events: int
    """Events that tell of the user, without their personal fields now."""
    out_of_files: bool
    """Whether nothing of the key and of the fields is left in the database's files, as far as can be known at once."""


def erase(desk: Desk, eraser: Eraser, tenant: str, names: Sequence[str], who: str, why: str) -> Erasure:
    """Destroy the key of the user and clear the user's events. Recorded, or not done. Again after something stopped it, it is ended.
    `names`: the id and what it may be stored as, the first that there is counts.

    Raises BadInput without a reason, NotFound where nothing is kept of the user.
    """
    check_words(why)
    user = next((name for name in names if name and eraser.knows((tenant, name))), None)
    if user is None:
        raise NotFound("nothing is kept of such a user", hint="users have the ids that events gave, or their tokens")
    token = desk.token(tenant, "user", user)
    with desk.writing() as connection:
        desk.append(connection, Act(tenant, who, "erase", "subject", token, why=why))
        key = eraser.destroy_key((tenant, user))
    events = eraser.clear_events((tenant, user))
    return Erasure(tenant, token, key, events, eraser.wipe())
