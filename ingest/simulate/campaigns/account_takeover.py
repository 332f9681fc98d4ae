"""Account takeover: the account is honest, the hand on it is not.

stuffing: failed logins from one device over many accounts, then a new password and a large order. parcel: the e-mail
and the address are changed first, the order follows in hours to one of a few parcel lockers. patient: a login from the victim's own country, two
quiet days, then amounts the victim might have spent, to the thief's address.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import DAY_S, HOUR_S


def stuffing(s: Script) -> None:
    device, ip, address = (s.world.tokens.new() for _ in range(3))
    s.share("device", device)
    s.share("address", address)
    t = s.start_s
    for _ in range(s.size):
        victim = s.victim().like(device=device, ip=ip, mobile_ip=ip, address=address)
        for _ in range(s.n(1, 4)):
            s.do(victim, t, "login", outcome="failed", outcome_code="bad_password")
            t += s.u(2, 20)
        s.do(victim, t, "login", outcome="success")
        s.do(victim, t + 60, "profile_change", step="password", outcome="success")
        s.order(victim, t + s.u(120, 900), s.world.amount(victim, 6.0))
        t += s.u(600, 3 * HOUR_S)


def parcel(s: Script) -> None:
    lockers = [s.world.tokens.new() for _ in range(1 + s.size // 3)]
    s.share("address", *lockers)
    for k in range(s.size):
        address = lockers[k % len(lockers)]
        victim, email = s.victim(), s.world.tokens.new()
        thief = victim.like(device=s.world.tokens.new(), ip=s.world.tokens.new(), address=address)
        t = s.start_s + s.u(0, 3) * DAY_S
        s.do(thief, t, "login", outcome="success")
        s.do(thief, t + 50, "profile_change", step="email", email=email, outcome="success")
        s.do(thief, t + 90, "profile_change", step="address", address=address, outcome="success")
        s.order(thief, t + s.u(600, 6 * HOUR_S), s.world.amount(victim, 3.0))


def patient(s: Script) -> None:
    device, address = s.world.tokens.new(), s.world.tokens.new()
    s.share("device", device)
    s.share("address", address)
    for _ in range(s.size):
        victim = s.victim()
        thief = victim.like(device=device, ip=s.world.tokens.new(), address=address)
        t = s.start_s + s.u(0, 4) * DAY_S
        s.do(thief, t, "login", outcome="success")
        for k in range(2):
            s.order(thief, t + (2 + 0.4 * k) * DAY_S, s.world.amount(victim, 1.8))


FORMS: dict[str, Form] = {"stuffing": stuffing, "parcel": parcel, "patient": patient}
