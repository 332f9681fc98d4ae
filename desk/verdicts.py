"""What investigators decide of entities: block, watch, allow. One act is of one entity or of all of a ring, and is undone as one.

An act and its line in the audit trail are written together or not at all. Nothing is removed: what was undone has ended, so that the
lists can be shown as they were at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from desk import tables as t
from desk.store import Act as Done
from desk.store import Desk
from ringwatch.errors import BadInput, Conflict, Denied, NotFound
from scorers.lists import INNOCENT, VERDICTS, Entry

DECISIONS = (*VERDICTS, INNOCENT)
MOST_ENTITIES = 5_000
"""Of one act."""
MOST_WORDS = 1_000
ACTS = "acts"
_FORGET_US = 7 * 86_400 * 1_000_000
"""Entries that expired so long ago are no longer looked at: events come late, but not that late."""

Target = tuple[str, str]
"""Kind, id."""


class Decided(msgspec.Struct, frozen=True):
    """One act."""

    tenant: str
    act_id: str
    number: int
    """Of the desk, rising with every act and every undoing of one."""
    verdict: str
    kind: str
    target: str
    """What was acted on: an entity, or a ring (kind "ring")."""
    who: str
    at_us: int
    why: str
    until_us: int | None
    entries: int
    """Entities it put on a list."""
    undone_us: int | None = None
    undone_by: str | None = None


class Wish(msgspec.Struct, frozen=True):
    """What somebody wants decided."""

    tenant: str
    who: str
    verdict: str
    about: Target
    entities: tuple[Target, ...]
    why: str
    until_us: int | None = None


def decide(desk: Desk, wish: Wish) -> Decided:
    """Raises BadInput for a wish that cannot be."""
    _check(wish, desk.clock())
    entities = sorted(set(wish.entities))
    with desk.writing() as connection:
        number = desk.number(connection, ACTS)
        act_id = blake2b(f"{wish.tenant}\0{number}".encode(), digest_size=12).hexdigest()
        made = Decided(
            wish.tenant, act_id, number, wish.verdict, *wish.about, wish.who, desk.clock(), wish.why, wish.until_us,
            len(entities),
        )  # fmt: skip
        connection.execute(t.acts.insert().values(msgspec.structs.asdict(made)))
        rows = [
            {
                "tenant": made.tenant, "act_id": act_id, "kind": kind, "id": id_, "verdict": made.verdict,
                "owner": made.who, "reason": made.why, "until_us": made.until_us,
            }
            for kind, id_ in entities
        ]  # fmt: skip
        connection.execute(t.verdicts.insert(), rows)
        said = {"act": act_id, "verdict": made.verdict, "until_us": made.until_us, "entities": entities}
        desk.append(connection, Done(made.tenant, made.who, f"{made.verdict}", *wish.about, new=said, why=made.why))
    return made


def undo(desk: Desk, tenant: str, who: str, act_id: str, why: str, *, of_others: bool = True) -> Decided:
    """Raises NotFound, Conflict where it was undone before, and Denied where it is another's and `of_others` is false."""
    check_words(why)
    with desk.writing() as connection:
        number = desk.number(connection, ACTS)
        found = _act(connection, tenant, act_id)
        if found.undone_us is not None:
            raise Conflict(f"act {act_id} was undone by {found.undone_by}", hint="decide anew if it is to hold again")
        if not of_others and found.who != who:
            raise Denied(f"act {act_id} is of {found.who}", hint="ask them, or somebody who may lead, to undo it")
        now_us = desk.clock()
        a, v = t.acts.c, t.verdicts.c
        mine = t.acts.update().where(a.tenant == tenant, a.act_id == act_id)
        connection.execute(mine.values(undone_us=now_us, undone_by=who, number=number))
        entries = t.verdicts.update().where(v.tenant == tenant, v.act_id == act_id)
        connection.execute(entries.values(ended_us=now_us))
        said = {"act": act_id, "verdict": found.verdict, "entities": found.entries}
        desk.append(connection, Done(tenant, who, "undo", found.kind, found.target, old=said, why=why))
    return msgspec.structs.replace(found, undone_us=now_us, undone_by=who, number=number)


def _check(wish: Wish, now_us: int) -> None:
    if wish.verdict not in DECISIONS:
        raise BadInput(f"verdict is {wish.verdict!r}", hint=f"one of {', '.join(DECISIONS)}", field="verdict")
    check_words(wish.why)
    if wish.until_us is not None and wish.until_us <= now_us:
        raise BadInput("until has passed", hint="name a time to come, or none", field="until")
    if not wish.entities:
        raise BadInput(f"{wish.about[0]} {wish.about[1]} has nothing to decide of", hint="look at it again")
    if len(set(wish.entities)) > MOST_ENTITIES:
        message = f"{wish.about[0]} {wish.about[1]} has {len(set(wish.entities)):,} entities"
        raise BadInput(message, hint=f"at most {MOST_ENTITIES:,} are decided of at once; act on what they share")


def check_words(why: str) -> None:
    """Raises BadInput."""
    if not why.strip() or len(why) > MOST_WORDS:
        raise BadInput(
            "a reason is needed", hint=f"1 to {MOST_WORDS:,} characters: others will read it", field="reason"
        )


def acts(desk: Desk, tenant: str, *, limit: int, before: int | None = None) -> list[Decided]:
    """Those that were decided or undone last, first; `before`: an act's number to go on behind."""
    c = t.acts.c
    query = select(t.acts).where(c.tenant == tenant).order_by(c.number.desc()).limit(limit)
    with desk.reading() as connection:
        return [
            _decided(row) for row in connection.execute(query if before is None else query.where(c.number < before))
        ]


def act(desk: Desk, tenant: str, act_id: str) -> Decided:
    """Raises NotFound."""
    with desk.reading() as connection:
        return _act(connection, tenant, act_id)


def of_entities(desk: Desk, tenant: str, entities: Sequence[Target]) -> Mapping[Target, list[Decided]]:
    """The acts in force on each of a few entities."""
    v, a = t.verdicts.c, t.acts.c
    joined = t.verdicts.join(t.acts, (v.tenant == a.tenant) & (v.act_id == a.act_id))
    found: dict[Target, list[Decided]] = {}
    with desk.reading() as connection:
        for kind, id_ in entities:
            query = select(t.acts).select_from(joined)
            query = query.where(v.tenant == tenant, v.kind == kind, v.id == id_, v.ended_us.is_(None))
            held = [_decided(row) for row in connection.execute(query.order_by(a.number))]
            if held:
                found[kind, id_] = held
    return found


def newest(desk: Desk) -> int:
    """The number of the last act or undoing of anybody; 0 before the first."""
    with desk.reading() as connection:
        return int(connection.scalar(select(t.numbers.c.value).where(t.numbers.c.name == ACTS)) or 0)


def in_force(desk: Desk) -> tuple[int, list[Entry]]:
    """The number they are as of at least, and all tenants' entries."""
    number, c = newest(desk), t.verdicts.c
    query = select(c.verdict, c.kind, c.id, c.owner, c.reason, c.until_us, c.tenant).where(c.ended_us.is_(None))
    query = query.where(c.until_us.is_(None) | (c.until_us > desk.clock() - _FORGET_US))
    with desk.reading() as connection:
        return number, [Entry(*row) for row in connection.execute(query)]


def _act(connection: Connection, tenant: str, act_id: str) -> Decided:
    c = t.acts.c
    row = connection.execute(select(t.acts).where(c.tenant == tenant, c.act_id == act_id).with_for_update()).first()
    if row is None:
        raise NotFound(f"there is no act {act_id!r}", hint="the query `acts` lists them")
    return _decided(row)


def _decided(row: Row[Any]) -> Decided:
    """The table's columns are in the order of its fields."""
    return Decided(*tuple(row))
