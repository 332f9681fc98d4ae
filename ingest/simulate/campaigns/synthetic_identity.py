"""Synthetic identity: people put together from pieces.

pieces: one phone and one address under many names and e-mails, small orders first, then everything at once. payout:
one bank account behind unrelated-looking accounts. chain: no piece is shared by all, each account shares one with
the next.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S, Person


def pieces(s: Script) -> None:
    phone, address = s.world.tokens.new(), s.world.tokens.new()
    s.share("phone", phone)
    s.share("address", address)
    people = [s.account(s.start_s + s.u(0, 3) * DAY_S, phone=phone, address=address) for _ in range(s.size)]
    for person in people:
        s.order(person, person.joined_s + s.u(0.2, 1.0) * DAY_S, s.u(10, 40), phone=phone)
        s.order(person, s.start_s + (5 + s.u(0, 0.4)) * DAY_S, s.u(250, 700), phone=phone)


def payout(s: Script) -> None:
    bank = s.world.tokens.new()
    s.share("bank_account", bank)
    for _ in range(s.size):
        person = s.account(s.start_s + s.u(0, 4) * DAY_S)
        s.do(person, person.joined_s + 900, "profile_change", step="bank_account", bank_account=bank)
        s.pay(person, person.joined_s + s.u(0.3, 2) * DAY_S, s.u(120, 480), bank_account=bank)


def chain(s: Script) -> None:
    before: Person | None = None
    for i in range(s.size):
        fixed: dict[str, str] = {}
        if before is not None:
            kind = ("phone", "address", "email")[i % 3]
            fixed = {kind: getattr(before, kind)}
            s.share(kind, fixed[kind])
        before = s.account(s.start_s + (i + s.u(0, 0.6)) * 0.5 * DAY_S, **fixed)
        s.order(before, before.joined_s + s.u(0.1, 0.5) * DAY_S, s.u(90, 420), email=before.email, phone=before.phone)


FORMS: dict[str, Form] = {"pieces": pieces, "payout": payout, "chain": chain}
