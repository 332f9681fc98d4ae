"""Alerts to cases, as the ledger tells that they are new or have grown.

An alert joins the open case that is about the same ring or entity, else the open one of its ring, else the open one with at least half of
its accounts; else it opens one. It stays in its case: one that grows after the case was closed opens nothing, a new alert does. Which
alerts were seen is kept with the cases in one transaction, so that several processes may follow and none is missed or counted twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from desk import tables as t
from desk.case import OPEN, QUEUES, Case, case_of, priority
from desk.store import Desk
from ringwatch.errors import RingwatchError
from ringwatch.model import HOUR_US, Alert, Level

Place = tuple[int, str]
_NAME = "cases"
_AT_ONCE = 200
_EVERY_S = 0.5
_CASES = "cases"
CHANGES = "case_changes"
"""Counts changes of cases."""
log = logging.getLogger(__name__)


class Changes(Protocol):
    """The ledger's alerts in the order they were written."""

    def alerts_changed(self, after: Place, *, limit: int) -> Sequence[tuple[Place, Alert]]: ...


RingRisk = Callable[[str, str], float]
"""(tenant, ring id): its risk, 0 where it is not known."""


class CaseKeeper:
    """A thread of its own in each process that serves people."""

    def __init__(
        self, desk: Desk, ledger: Changes, ring_risk: RingRisk, sla_h: Mapping[str, float] = QUEUES, *,
        every_s: float = _EVERY_S,
    ) -> None:  # fmt: skip
        """`sla_h`: queue -> hours."""
        self._desk, self._ledger, self._ring_risk, self._every_s = desk, ledger, ring_risk, every_s
        self.sla_h = dict(sla_h)
        self._sla_us = {queue: int(hours * HOUR_US) for queue, hours in sla_h.items()}
        self.trouble = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def step(self) -> int:
        """Takes up to 200 changes; how many there were."""
        before = self._place()
        changed = self._ledger.alerts_changed(before, limit=_AT_ONCE)
        if not changed:
            return 0
        risks = {(a.tenant, a.ring): self._ring_risk(a.tenant, a.ring) for _, a in changed if a.ring}
        with self._desk.writing() as connection:
            if self._moved(connection, before, changed[-1][0]):
                for _, alert in changed:
                    self._take(connection, alert, risks.get((alert.tenant, alert.ring), 0.0))
        return len(changed)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                found = self.step()
                self.trouble = ""
            except RingwatchError as error:
                found = 0
                if self.trouble != error.message:
                    log.warning("alerts do not become cases: %s", error.message)
                self.trouble = error.message
            if not found:
                self._ended.wait(self._every_s)

    def _place(self) -> Place:
        c = t.positions.c
        with self._desk.reading() as connection:
            row = connection.execute(select(c.change, c.id).where(c.name == _NAME)).first()
        return (-1, "") if row is None else (row.change, row.id)

    def _moved(self, connection: Connection, before: Place, after: Place) -> bool:
        """Whether the changes between are ours to take: nobody else took them meanwhile. Held to the end."""
        c = t.positions.c
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        first = dialect.insert(t.positions).values(name=_NAME, change=-1, id="")
        connection.execute(first.on_conflict_do_nothing())
        ours = t.positions.update().where(c.name == _NAME, c.change == before[0], c.id == before[1])
        return connection.execute(ours.values(change=after[0], id=after[1])).rowcount == 1

    def _take(self, connection: Connection, alert: Alert, ring_risk: float) -> None:
        a = t.case_alerts.c
        mine = select(a.case_id, a.events, a.amount_minor).where(a.tenant == alert.tenant, a.alert_id == alert.alert_id)
        known = connection.execute(mine).first()
        case = None if known is None else _case(connection, alert.tenant, known.case_id)
        if case is None:
            case = self._open_case_of(connection, alert) or self._new(connection, alert)
        self._note_alert(connection, case, alert)
        accounts = self._note_accounts(connection, case, alert)
        more_events = alert.events - (known.events if known is not None else 0)
        more_minor = alert.amount_minor - (known.amount_minor if known is not None else 0)
        queue = "now" if "now" in (case.queue, alert.delivery) else case.queue
        higher = alert.score > case.score
        amount_minor, score, risk = (
            case.amount_minor + more_minor,
            max(case.score, alert.score),
            max(ring_risk, case.ring_risk),
        )
        grown = msgspec.structs.replace(
            case, ring=alert.ring or case.ring, queue=queue, level=max(Level[case.level], Level[alert.level]).name,
            text=alert.text if higher else case.text, score=score, ring_risk=risk, amount_minor=amount_minor,
            alerts=case.alerts + (known is None), events=case.events + more_events, accounts=accounts,
            priority=priority(score, risk, amount_minor), first_at_us=min(case.first_at_us, alert.first_at_us),
            last_at_us=max(case.last_at_us, alert.last_at_us),
            due_us=min(case.due_us, case.opened_us + self._sla_us[queue]),
        )  # fmt: skip
        save(self._desk, connection, grown)

    def _open_case_of(self, connection: Connection, alert: Alert) -> Case | None:
        c = t.cases.c
        mine = (
            select(t.cases).where(c.tenant == alert.tenant, c.status == OPEN).order_by(c.opened_us, c.case_id).limit(1)
        )
        same = connection.execute(mine.where(c.kind == alert.kind, c.entity == alert.entity)).first()
        if same is None and alert.ring:
            same = connection.execute(mine.where(c.ring == alert.ring)).first()
        if same is None and alert.accounts:
            u = t.case_accounts.c
            joined = t.case_accounts.join(t.cases, (u.tenant == c.tenant) & (u.case_id == c.case_id))
            shared = func.count().label("shared")
            most = (
                select(u.case_id, shared).select_from(joined)
                .where(u.tenant == alert.tenant, c.status == OPEN, u.user.in_(alert.accounts))
                .group_by(u.case_id).order_by(shared.desc(), u.case_id).limit(1)
            )  # fmt: skip
            best = connection.execute(most).first()
            if best is not None and 2 * best.shared >= len(alert.accounts):
                return _case(connection, alert.tenant, best.case_id)
        return None if same is None else case_of(same)

    def _new(self, connection: Connection, alert: Alert) -> Case:
        now_us, number = self._desk.clock(), self._desk.number(connection, _CASES)
        case_id = blake2b(f"{alert.tenant}\0{number}\0{alert.alert_id}".encode(), digest_size=12).hexdigest()
        made = Case(
            alert.tenant, case_id, alert.kind, alert.entity, alert.ring, alert.delivery, OPEN, alert.level, alert.text,
            0.0, 0.0, 0, 0, 0, 0, 0.0, alert.first_at_us, alert.last_at_us, now_us,
            now_us + self._sla_us[alert.delivery], None, None, None, None, None, 0,
        )  # fmt: skip
        connection.execute(t.cases.insert().values(msgspec.structs.asdict(made)))
        return made

    @staticmethod
    def _note_alert(connection: Connection, case: Case, alert: Alert) -> None:
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        counted = {"events": alert.events, "amount_minor": alert.amount_minor}
        row = dialect.insert(t.case_alerts).values(
            tenant=case.tenant, alert_id=alert.alert_id, case_id=case.case_id, **counted
        )
        connection.execute(row.on_conflict_do_update(index_elements=["tenant", "alert_id"], set_=counted))

    @staticmethod
    def _note_accounts(connection: Connection, case: Case, alert: Alert) -> int:
        """How many accounts the case has now."""
        c = t.case_accounts.c
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        rows = [{"tenant": case.tenant, "user": user, "case_id": case.case_id} for user in alert.accounts]
        if rows:
            connection.execute(dialect.insert(t.case_accounts).on_conflict_do_nothing(), rows)
        mine = select(func.count()).where(c.tenant == case.tenant, c.case_id == case.case_id)
        return int(connection.scalar(mine) or 0)


def save(desk: Desk, connection: Connection, case: Case) -> None:
    c = t.cases.c
    values = {**msgspec.structs.asdict(case), "change": desk.number(connection, CHANGES)}
    mine = t.cases.update().where(c.tenant == case.tenant, c.case_id == case.case_id)
    connection.execute(mine.values({k: v for k, v in values.items() if k not in ("tenant", "case_id")}))


def _case(connection: Connection, tenant: str, case_id: str) -> Case | None:
    c = t.cases.c
    row = connection.execute(select(t.cases).where(c.tenant == tenant, c.case_id == case_id).with_for_update()).first()
    return None if row is None else case_of(row)
