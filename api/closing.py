"""Closing a case: what it came to becomes labels, then the case is closed."""

from __future__ import annotations

from collections.abc import Sequence

from api import reads
from api.served import Served
from desk import cases
from desk.case import Case
from ingest.values import show
from ringwatch.errors import BadInput, RingwatchError
from ringwatch.model import Label, LabelValue

MOST_LABELLED = 1_000
_LABELS: dict[str, LabelValue] = {"fraud": "fraud", "false_positive": "good"}


def close_case(
    here: Served, who: cases.Who, case_id: str, outcome: str, reason: str, accounts: Sequence[str] | None,
    version: int | None,
) -> Case:  # fmt: skip
    """Labels first: a case whose labels did not get through stays open, and closing it again gives them again, which changes nothing. Raises
    what `cases.close` does, and what the scoring says of the labels."""
    cases.check_close(here.desk, who, case_id, outcome, reason, version)
    label = _LABELS.get(outcome)
    if label is not None:
        named = accounts
        if named is None:
            found = cases.accounts_of(here.desk, who.tenant, [case_id], limit=MOST_LABELLED + 1)
            named = found.get(case_id, [])
        _check(named)
        _label(here, who.tenant, named, label)
    return cases.close(here.desk, who, case_id, outcome, reason, version)


def _check(accounts: Sequence[str]) -> None:
    if len(accounts) > MOST_LABELLED:
        hint = f"at most {MOST_LABELLED:,} are labelled at once: name them"
        raise BadInput(f"{len(accounts):,} accounts are concerned", hint=hint, field="accounts")
    for user in accounts:
        if not reads.is_id(user):
            hint = f"1 to {reads.MAX_TEXT} printable characters"
            raise BadInput(f"account {show(user, quote=True)} is none", hint=hint, field="accounts")


def _label(here: Served, tenant: str, accounts: Sequence[str], label: LabelValue) -> None:
    """Known as of the newest event: the stream's own now."""
    newest_us = here.engine.ask_from(lambda scoring: scoring.stream.watermark_us)
    known_at_us = int(here.clock() * 1e6) if newest_us is None else newest_us
    labels = [Label("user", user, label, known_at_us, tenant) for user in sorted(set(accounts))]
    for outcome in here.engine.submit_from(labels).outcomes if labels else ():
        if isinstance(outcome, RingwatchError):
            raise outcome
