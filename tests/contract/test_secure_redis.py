"""Redis with TLS, certificates on both sides and a user with the documented rights: who gets in, and what the others are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from support.certificates import Authority, Certificate
from support.secure import HOST, SecureRedis, secret_file, started
from support.shared import SCHEMA, TENANT, write
from support.streams import START_US, payment

from features.redis_state import RedisState
from ringwatch.access import open_shared_state
from ringwatch.errors import BadInput, ServerDenied, Unavailable
from ringwatch.settings import Settings
from servers.launcher import Servers

pytestmark = pytest.mark.backends
USER = "ringwatch"


@dataclass(frozen=True)
class Secured:
    ports: Mapping[str, int]
    folder: Path
    authority: Authority
    stranger: Authority
    """Nobody trusts it."""
    ours: Certificate
    password: str
    wrong: str

    def state(self, host: str = HOST, scheme: str = "rediss", password: str = "", **changes: Any) -> RedisState:
        """As the settings lead to it; changes are settings without their `redis_`, None takes one away."""
        own = {"ca_file": self.authority.cert, "cert_file": self.ours.cert, "key_file": self.ours.key}
        named = {"username": USER, **(own if scheme == "rediss" else {}), **changes}
        given = {f"redis_{name}": value for name, value in named.items() if value is not None}
        secret = secret_file(self.folder, f"password.{token_hex(4)}", password or self.password)
        url = f"{scheme}://{host}:{self.ports['tls']}/0"
        return open_shared_state(Settings(state_url=url, redis_password_file=secret, **given), SCHEMA)


@pytest.fixture(scope="module")
def secured(own_servers: Callable[..., Servers], tmp_path_factory: pytest.TempPathFactory) -> Secured:
    folder, password = tmp_path_factory.mktemp("redis"), f"right-{token_hex(8)}"
    authority = Authority(folder)
    _, ports = started(own_servers, SecureRedis(authority, USER, password))
    stranger, ours = Authority(folder, "stranger"), authority.issue(USER)
    return Secured(ports, folder, authority, stranger, ours, password, f"wrong-{token_hex(8)}")


def test_a_user_with_the_documented_rights_works_over_tls(secured: Secured) -> None:
    with closing(secured.state()) as state:
        state.initialise()
        assert write(state, [payment(1, START_US)])[0, SCHEMA.column("user.count_all")] == 1
        assert write(state, [payment(2, START_US + 1)])[0, SCHEMA.column("user.count_all")] == 2
        assert state.stats()["evicted"] == 0


PASSWORD = "check user and password: RINGWATCH_REDIS_USERNAME, RINGWATCH_REDIS_PASSWORD_FILE"
THEIRS = "certificate verify failed.*signed by an authority in RINGWATCH_REDIS_CA_FILE"
OURS = r"does it want a certificate.*RINGWATCH_REDIS_CERT_FILE, RINGWATCH_REDIS_KEY_FILE"
NOT_LET_IN: dict[str, tuple[str, Callable[[Secured], dict[str, Any]]]] = {
    "a wrong password": (PASSWORD, lambda s: {"password": s.wrong}),
    "an unknown user": (PASSWORD, lambda s: {"username": "nobody"}),
    "another authority": (THEIRS, lambda s: {"ca_file": s.stranger.cert}),
    "the authorities of the system": (THEIRS, lambda s: {"ca_file": None}),
    "a name that is not in its certificate": ("not valid for 'localhost'", lambda s: {"host": "localhost"}),
    "no certificate of ours": (OURS, lambda s: {"cert_file": None, "key_file": None}),
    "no TLS": (r"speaks TLS there \(rediss://\)", lambda s: {"scheme": "redis"}),
}


@pytest.mark.parametrize("case", NOT_LET_IN)
def test_who_does_not_get_in_is_told_why(secured: Secured, case: str) -> None:
    told, changes = NOT_LET_IN[case]
    kind = ServerDenied if told == PASSWORD else Unavailable
    with closing(secured.state(**changes(secured))) as state, pytest.raises(kind, match=told) as error:
        state.begin(TENANT, [])
    for secret in (secured.password, secured.wrong):
        assert secret not in f"{error.value} {error.value!r} {error.value.context}"


def test_files_that_cannot_be_used_are_refused_at_once(secured: Secured) -> None:
    other, none = secured.authority.issue("other"), secured.folder / "none.pem"
    none.write_text("no certificate")
    for wrong in ({"ca_file": none}, {"cert_file": none}, {"key_file": other.key}):
        with pytest.raises(BadInput, match=r"certificates for Redis cannot be used.*PEM files are needed"):
            secured.state(**wrong)
