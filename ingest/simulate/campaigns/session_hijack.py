"""Device fingerprint and session hijack.

stolen_cookie: a session goes on from another device, ip and browser. emulator: one device that claims another
browser with every account. replay: a week-old session comes back from elsewhere and spends.
"""

from ingest.simulate.script import Form, Script
from ingest.simulate.world import AGENTS, DAY_S, stamp


def _hijack(s: Script, wait_s: float, device: str) -> None:
    victim, session = s.victim(), s.world.tokens.new()
    t = s.start_s + s.u(0, 3) * DAY_S
    s.calm([stamp(s.world, victim, t, "login", outcome="success", session=session)])
    s.calm([stamp(s.world, victim, t + 40, "session_step", step="browse", session=session)])
    agent = next(a for a in AGENTS if a != victim.agent)
    thief = victim.like(device=device, ip=s.world.tokens.new(), agent=agent)
    t += wait_s
    for k, step in enumerate(("cart", "checkout")):
        s.do(thief, t + 30 * k, "session_step", step=step, session=session)
    s.pay(thief, t + 120, s.world.amount(victim, 4.0), session=session)


def stolen_cookie(s: Script) -> None:
    device = s.world.tokens.new()
    s.share("device", device)
    for _ in range(s.size):
        _hijack(s, s.u(200, 1500), device)


def emulator(s: Script) -> None:
    device = s.world.tokens.new()
    s.share("device", device)
    for k in range(s.size):
        person = s.account(s.start_s + s.u(0, 3) * DAY_S, device=device, agent=AGENTS[k % len(AGENTS)])
        s.order(person, person.joined_s + s.u(300, 9000), s.u(70, 300))


def replay(s: Script) -> None:
    for _ in range(s.size):
        _hijack(s, s.u(5, 7) * DAY_S, s.world.tokens.new())


FORMS: dict[str, Form] = {"stolen_cookie": stolen_cookie, "emulator": emulator, "replay": replay}
