"""What became of each item of a chunk: an assessment, nothing (a label that was taken), or the error to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingest.redelivery import body_hash
from ingest.scoring import Scoring
from ingest.tally import Taken
from ledger.store import LedgerStore, StoredAssessment
from ringwatch.errors import Conflict, NotFound, RingwatchError, Unavailable
from ringwatch.model import Assessment, Event, Label, Refusal

Outcome = Assessment | RingwatchError | None
_Key = tuple[str, str]
"""tenant and event id."""


def outcomes_of(items: Sequence[Event | Label], taken: Taken, ledger: LedgerStore) -> list[Outcome]:
    """One outcome an item, in order, after the pipeline took them at the positions 1, 2, ..."""
    decisions = taken.decisions
    refused = {r.position: _error(r) for r in taken.refused}
    rows = {(e.tenant, e.event_id): i for i, e in enumerate(decisions.events)}
    before = [
        e
        for i, e in enumerate(items, 1)
        if isinstance(e, Event)
        and i not in refused
        and (e.tenant, e.event_id) not in rows
        and (e.tenant, e.event_id) not in taken.known
    ]
    stored = stored_of(before, ledger) if before else {}
    made: dict[_Key, Assessment] = dict(taken.known)
    found: list[Outcome] = []
    for position, item in enumerate(items, 1):
        if (error := refused.get(position)) is not None:
            found.append(error)
        elif isinstance(item, Label):
            found.append(None)
        else:
            key = (item.tenant, item.event_id)
            if key in rows and key not in made:
                made[key] = decisions.assessment(rows[key])
            found.append(made[key] if key in made else _stored(stored, key))
    return found


def outcomes_of_ledger(items: Sequence[Event | Label], ledger: LedgerStore) -> list[Outcome]:
    """The same when the pipeline gave no answer: what the ledger holds counts, the rest was not taken."""
    events = [item for item in items if isinstance(item, Event)]
    stored = stored_of(events, ledger)
    found: list[Outcome] = []
    for item in items:
        if isinstance(item, Label):
            kept = item in ledger.labels_of(item.tenant, item.target_kind, [item.target_id])
            found.append(None if kept else _not_taken())
            continue
        known = stored.get((item.tenant, item.event_id))
        if known is not None and known.body_hash != body_hash(item):
            found.append(
                Conflict(f"event id {item.event_id!r} was seen before with another content", hint="use another id")
            )
        else:
            found.append(_not_taken() if known is None else known.assessment)
    return found


def look(pipeline: Scoring, events: Sequence[Event]) -> list[Outcome]:
    """Each event as if it happened now, alone; nothing changes. Seen before: what it was given then."""
    found: list[Outcome] = []
    for event in events:
        try:
            decisions = pipeline.look(event)
        except RingwatchError as error:
            found.append(Conflict(error.message, hint=error.hint) if error.context.get("code") == "conflict" else error)
            continue
        ledger = pipeline.ledger
        key = (event.tenant, event.event_id)
        found.append(decisions.assessment(0) if decisions is not None else _stored(stored_of([event], ledger), key))
    return found


def stored_of(events: Iterable[Event], ledger: LedgerStore) -> dict[_Key, StoredAssessment]:
    ids: dict[str, list[str]] = {}
    for event in events:
        ids.setdefault(event.tenant, []).append(event.event_id)
    return {(t, id_): s for t, some in ids.items() for id_, s in ledger.assessments(t, some).items()}


def _stored(stored: dict[_Key, StoredAssessment], key: _Key) -> Outcome:
    found = stored.get(key)
    return _not_taken() if found is None else found.assessment


def _not_taken() -> Unavailable:
    return Unavailable("the event could not be kept", hint="send it again with the same id", retry_after_s=5.0)


def _error(refusal: Refusal) -> RingwatchError:
    if refusal.code == "conflict":
        return Conflict(refusal.reason, hint="the same id gives the same assessment; use another id for another event")
    if refusal.code == "ledger_away":
        return Unavailable(refusal.reason, retry_after_s=5.0, code=refusal.code)
    return NotFound(refusal.reason, code=refusal.code)
