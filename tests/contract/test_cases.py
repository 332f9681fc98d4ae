"""What cases promise, on SQLite and on PostgreSQL: how alerts become cases, and people's work on them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.desks import KEY
from support.ledgers import fresh_database

from desk import cases as c
from desk.case import Case, priority
from desk.case_keeper import CaseKeeper
from desk.store import Desk
from features.schema import FeatureSchema
from ledger.queries import LedgerQueries
from ledger.store import LedgerWrite
from ringwatch.errors import BadInput, Conflict, NotFound
from ringwatch.model import DAY_US, HOUR_US, MINUTE_US, Alert

ANNA, BEN = c.Who("acme", "key:anna"), c.Who("acme", "key:ben")
SLA_H = {"now": 4.0, "digest": 72.0}


@dataclass
class Office:
    """A ledger, a desk, and a clock that stands still unless told."""

    ledger: LedgerQueries
    desk_url: str
    now_us: int = 1_000 * DAY_US
    risks: dict[str, float] = field(default_factory=dict)
    opened: list[Desk] = field(default_factory=list)

    def desk(self) -> Desk:
        self.opened.append(Desk(self.desk_url, KEY, lambda: self.now_us))
        self.opened[-1].prepare()
        return self.opened[-1]

    def keeper(self, desk: Desk) -> CaseKeeper:
        return CaseKeeper(desk, self.ledger, lambda tenant, ring: self.risks.get(ring, 0.0), SLA_H)

    def tell(self, *alerts: Alert) -> None:
        self.ledger.write(LedgerWrite(None, alerts=alerts))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.backends)])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    def with_ledger(url: str, desk_url: str) -> Iterator[Office]:
        ledger = LedgerQueries(url, FeatureSchema())
        ledger.prepare()
        made = Office(ledger, desk_url)
        yield made
        for one in (*made.opened, ledger):
            one.close()

    if request.param == "sqlite":
        yield from with_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", f"sqlite:///{tmp_path / 'desk.sqlite'}")
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield from with_ledger(url, url)


def alert(n: int, *, tenant: str = "acme", **more: Any) -> Alert:
    given = {
        "alert_id": f"a-{tenant}-{n}", "tenant": tenant, "kind": "device", "entity": f"d-{n}", "reason": "r", "first_at_us": n,
        "last_at_us": n + 1, "events": 1, "score": 0.7, "level": "HIGH", "delivery": "now", "text": f"reason {n}",
        "amount_minor": 1000, "accounts": (f"u-{n}",),
    }  # fmt: skip
    return Alert(**{**given, **more})


def followed(office: Office, desk: Desk) -> list[Case]:
    keeper = office.keeper(desk)
    while keeper.step():
        pass
    return c.page(desk, "acme", c.CaseFilter(status=None, snoozed=None), limit=100)


def test_an_alert_opens_a_case_and_grows_it(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1))
    (case,) = followed(office, desk)
    assert (case.kind, case.entity, case.alerts, case.events, case.amount_minor) == ("device", "d-1", 1, 1, 1000)
    assert (case.queue, case.level, case.status, case.accounts) == ("now", "HIGH", "open", 1)
    assert case.due_us == case.opened_us + 4 * HOUR_US
    assert case.priority == pytest.approx(0.7 * 11.0)
    grown = alert(1, events=3, amount_minor=5000, score=0.9, level="CRITICAL", text="stronger", accounts=("u-1", "u-2"))
    office.tell(grown)
    (again,) = followed(office, desk)
    assert (again.case_id, again.events, again.amount_minor, again.level) == (case.case_id, 3, 5000, "CRITICAL")
    assert (again.accounts, again.text, again.version) == (2, "stronger", case.version)
    assert c.alerts_of(desk, "acme", [case.case_id, "none"], limit=9) == {case.case_id: ["a-acme-1"]}
    assert c.accounts_of(desk, "acme", [case.case_id], limit=9) == {case.case_id: ["u-1", "u-2"]}
    assert c.accounts_of(desk, "acme", [case.case_id], limit=1) == {case.case_id: ["u-1"]}
    assert c.accounts_of(desk, "other", [case.case_id], limit=9) == {}
    assert {a: x.case_id for a, x in c.cases_of(desk, "acme", ["a-acme-1", "none"]).items()} == {
        "a-acme-1": case.case_id
    }


def test_what_belongs_together_is_one_case(office: Office) -> None:
    desk = office.desk()
    office.risks["ring-1"] = 0.95
    office.tell(alert(1, kind="ring", entity="ring-1", ring="ring-1", accounts=("x", "y", "z")))
    office.tell(alert(2, entity="d-2", ring="ring-1", accounts=("q",)))  # of the ring
    office.tell(alert(3, entity="d-3", accounts=("x", "y", "new")))  # two of three accounts
    office.tell(alert(4, entity="d-4", accounts=("x", "new-1", "new-2")))  # one of three: another case
    office.tell(alert(5, kind="ring", entity="ring-1", ring="ring-1", accounts=("w",)))  # the same subject
    office.tell(alert(6, tenant="other", kind="ring", entity="ring-1", ring="ring-1", accounts=("x", "y", "z")))
    cases = {case.entity: case for case in followed(office, desk)}
    assert set(cases) == {"ring-1", "d-4"}
    ring = cases["ring-1"]
    assert (ring.alerts, ring.accounts, ring.ring_risk) == (4, 6, 0.95)
    assert ring.priority == priority(0.7, 0.95, 4000)
    assert len(c.page(desk, "other", c.CaseFilter(), limit=9)) == 1


def test_a_closed_case_takes_its_alerts_and_a_new_alert_opens_another(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1))
    (case,) = followed(office, desk)
    c.close(desk, ANNA, case.case_id, "fraud", "a ring of chargebacks")
    office.tell(alert(1, events=2, amount_minor=3000))
    (same,) = followed(office, desk)
    assert (same.status, same.events, same.outcome) == ("closed", 2, "fraud")
    office.tell(alert(7, entity="d-1"))
    assert {(x.entity, x.status) for x in followed(office, desk)} == {("d-1", "closed"), ("d-1", "open")}


def test_several_followers_take_each_change_once(office: Office) -> None:
    desks = [office.desk() for _ in range(4)]
    for n in range(60):
        office.tell(alert(n % 20, events=n, amount_minor=100 * n))

    def follow(desk: Desk) -> None:
        keeper = office.keeper(desk)
        while keeper.step():
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(follow, desks))
    cases = followed(office, desks[0])
    assert len(cases) == 20
    assert all(case.alerts == 1 for case in cases)
    assert {case.entity: case.events for case in cases} == {f"d-{n}": 40 + n for n in range(20)}


def test_alerts_from_before_the_desk_become_cases(office: Office) -> None:
    office.tell(*(alert(n) for n in range(450)))
    desk = office.desk()
    assert len(followed(office, desk)) == 100
    keeper = office.keeper(desk)
    assert keeper.step() == 0
    assert c.report(desk, "acme", SLA_H)[0].open == 450


def test_the_queue_is_paged_by_priority(office: Office) -> None:
    desk = office.desk()
    office.tell(*(alert(n, amount_minor=100 * (n % 5)) for n in range(23)))
    whole = followed(office, desk)
    assert [x.priority for x in whole] == sorted((x.priority for x in whole), reverse=True)
    seen: list[Case] = []
    while True:
        after = (seen[-1].priority, seen[-1].case_id) if seen else None
        page = c.page(desk, "acme", c.CaseFilter(), limit=4, after=after)
        seen += page
        if len(page) < 4:
            break
    assert seen == whole
    one = whole[3]
    assert c.page(desk, "acme", c.CaseFilter(account=f"u-{one.entity[2:]}"), limit=9) == [one]
    assert c.page(desk, "acme", c.CaseFilter(queue="digest"), limit=9) == []


def test_a_claim_keeps_others_off_until_it_expires(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1))
    (case,) = followed(office, desk)
    claimed = c.claim(desk, ANNA, case.case_id, 30)
    assert claimed.claimed(office.now_us) == "key:anna"
    assert claimed.version == case.version + 1
    for act in (
        lambda: c.claim(desk, BEN, case.case_id, 30),
        lambda: c.release(desk, BEN, case.case_id),
        lambda: c.close(desk, BEN, case.case_id, "fraud", "why"),
        lambda: c.check_close(desk, BEN, case.case_id, "fraud", "why"),
        lambda: c.snooze(desk, BEN, case.case_id, office.now_us + DAY_US, "why"),
    ):
        with pytest.raises(Conflict, match="claimed by key:anna"):
            act()
    c.note(desk, BEN, case.case_id, "I know this one")
    assert [x.case_id for x in c.page(desk, "acme", c.CaseFilter(claimed_by="key:anna"), limit=9)] == [case.case_id]
    assert c.page(desk, "acme", c.CaseFilter(unclaimed=True), limit=9) == []
    assert c.claim(desk, ANNA, case.case_id, 60).claimed_until_us == office.now_us + 60 * MINUTE_US
    office.now_us += 61 * MINUTE_US
    assert c.claim(desk, BEN, case.case_id, 30).claimed_by == "key:ben"
    assert c.release(desk, BEN, case.case_id).claimed_by is None


def test_only_one_of_many_gets_it(office: Office) -> None:
    desks = [office.desk() for _ in range(4)]
    office.tell(alert(1))
    (case,) = followed(office, desks[0])

    def take(k: int) -> bool:
        try:
            c.claim(desks[k], c.Who("acme", f"key:{k}"), case.case_id, 30, case.version)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) == 1


def test_a_change_of_what_somebody_did_not_see_is_refused(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1))
    (case,) = followed(office, desk)
    noted = c.note(desk, BEN, case.case_id, "first")
    with pytest.raises(Conflict, match=f"at version {noted.version}, not {case.version}"):
        c.close(desk, ANNA, case.case_id, "fraud", "why", case.version)
    assert c.close(desk, ANNA, case.case_id, "not_sure", "why", noted.version).outcome == "not_sure"


def test_a_snooze_is_of_what_the_case_is_about(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1), alert(2))
    one = next(x for x in followed(office, desk) if x.entity == "d-1")
    until_us = office.now_us + DAY_US
    slept = c.snooze(desk, ANNA, one.case_id, until_us, "asked the bank")
    assert c.snoozed_until(desk, "acme", [slept.case_id, "none"]) == {slept.case_id: until_us}
    assert [x.entity for x in c.page(desk, "acme", c.CaseFilter(), limit=9)] == ["d-2"]
    assert [x.entity for x in c.page(desk, "acme", c.CaseFilter(snoozed=True), limit=9)] == ["d-1"]
    c.close(desk, ANNA, one.case_id, "not_sure", "done for now")
    office.tell(alert(9, entity="d-1"))
    followed(office, desk)
    assert [x.entity for x in c.page(desk, "acme", c.CaseFilter(), limit=9)] == ["d-2"], "a later one sleeps, too"
    office.now_us = until_us
    assert {x.entity for x in c.page(desk, "acme", c.CaseFilter(), limit=9)} == {"d-1", "d-2"}
    with pytest.raises(BadInput, match="too far off"):
        c.snooze(desk, ANNA, one.case_id, office.now_us + 91 * DAY_US, "why")


def test_what_is_late_is_reported(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1), alert(2), alert(3, delivery="digest", level="MEDIUM"), alert(4))
    cases = {x.entity: x for x in followed(office, desk)}
    c.close(desk, ANNA, cases["d-1"].case_id, "fraud", "in time")
    office.now_us += 5 * HOUR_US
    c.close(desk, ANNA, cases["d-2"].case_id, "fraud", "too late")
    c.claim(desk, ANNA, cases["d-4"].case_id, 10)
    now, digest = c.report(desk, "acme", SLA_H)
    assert (now.open, now.claimed, now.overdue, now.closed_30d, now.breached_30d) == (1, 1, 1, 2, 2)
    assert (digest.open, digest.overdue, digest.breached_30d, digest.amount_minor) == (1, 0, 0, 1000)
    late = c.page(desk, "acme", c.CaseFilter(status=None, overdue=True), limit=9)
    assert {x.entity for x in late} == {"d-2", "d-4"}
    assert c.report(desk, "nobody", SLA_H)[0].open == 0


def test_all_of_it_is_in_the_trail_and_refusals_leave_nothing(office: Office) -> None:
    desk = office.desk()
    office.tell(alert(1))
    (case,) = followed(office, desk)
    c.claim(desk, ANNA, case.case_id, 30)
    c.note(desk, ANNA, case.case_id, "früher gesehen")
    c.close(desk, ANNA, case.case_id, "fraud", "proved")
    for wrong, error in (
        (lambda: c.close(desk, ANNA, case.case_id, "fraud", "again"), Conflict),
        (lambda: c.close(desk, ANNA, case.case_id, "frod", "why"), BadInput),
        (lambda: c.reopen(desk, ANNA, case.case_id, "  "), BadInput),
        (lambda: c.note(desk, ANNA, case.case_id, ""), BadInput),
        (lambda: c.claim(desk, ANNA, case.case_id, 0), BadInput),
        (lambda: c.claim(desk, ANNA, "no-case", 10), NotFound),
        (lambda: c.claim(desk, c.Who("other", "key:anna"), case.case_id, 10), NotFound),
    ):
        with pytest.raises(error):
            wrong()
    reopened = c.reopen(desk, ANNA, case.case_id, "new evidence")
    assert (reopened.status, reopened.outcome, reopened.closed_us) == ("open", None, None)
    did = [e.did for e in desk.entries("acme", limit=20)]
    assert did == ["case.reopen", "case.close", "case.note", "case.claim"]
    assert [n.text for n in c.notes(desk, "acme", [case.case_id])[case.case_id]] == ["früher gesehen"]
    assert not desk.verify("acme").troubles
