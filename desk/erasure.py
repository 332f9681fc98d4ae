"""Erasing what is known of a person, and that it was done: in the audit trail, by a token instead of the id."""

from __future__ import annotations

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


def erase(desk: Desk, eraser: Eraser, tenant: str, user: str, who: str, why: str) -> Erasure:
    """Destroy the user's key and clear the user's events. Recorded, or not done. Again after something stopped it, it is ended.

    Raises BadInput without a reason, NotFound where nothing is kept of the user.
    """
    check_words(why)
    subject = (tenant, user)
    if not user or not eraser.knows(subject):
        raise NotFound("nothing is kept of such a user", hint="users have the ids that events gave, or their tokens")
    token = desk.token(tenant, "user", user)
    with desk.writing() as connection:
        desk.append(connection, Act(tenant, who, "erase", "subject", token, why=why))
        key = eraser.destroy_key(subject)
    events = eraser.clear_events(subject)
    return Erasure(tenant, token, key, events, eraser.wipe())
