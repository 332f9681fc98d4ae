"""How a PostgreSQL server is reached: a URL without a secret, and what every connection is set to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ringwatch.errors import BadInput, Corrupt, RingwatchError, ServerDenied, StoreAway

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_STALL_S = 20
"""A connection on which nothing comes through for so long is given up."""
_REFUSED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "requires a valid client certificate",
    "alert unknown ca",
)
_UNTRUSTED = ("certificate verify failed", "does not match host name")
_UNAVAILABLE = ("08", "53", "55", "57", "40", "25")
_HINTS = {
    "53100": "free disk space on the database server, then try again",
    "53300": "raise max_connections of the server, or run fewer processes",
    "57014": "the statement took longer than allowed; is the server overloaded?",
}

Tls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """What the URL does not say. `BadInput` where it is half set or a file is missing."""

    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    """None: as the URL says, else the driver's default ("prefer")."""
    ca: Path | None = None
    """Certificates that sign the server's; without it `verify-full` takes the system's."""
    certificate: Path | None = None
    key: Path | None = field(default=None, repr=False)
    connect_timeout_s: int = 5
    statement_timeout_s: float = 30.0
    """0: none."""
    application: str = "ringwatch"

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            given, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise BadInput(f"PostgreSQL: a client {given} without its {missing}", hint=f"set the {missing} file, too")
        if self.ca is not None and self.tls not in ("verify-ca", "verify-full"):
            raise BadInput(
                f"PostgreSQL: CA certificates are set, and TLS is {self.tls or 'not set'}: they would not be used",
                hint="set TLS to verify-full",
            )
        if self.ca is None and self.tls == "verify-ca":
            raise BadInput("PostgreSQL: TLS is verify-ca without CA certificates", hint="set the CA file")
        for path in (self.ca, self.certificate, self.key):
            if path is not None and not path.is_file():
                raise BadInput(f"PostgreSQL: {path} is not a file", hint="name the PEM file")

    def without_limit(self) -> PostgresAccess:
        """For maintenance, whose statements take as long as they take."""
        return replace(self, statement_timeout_s=0.0)

    def connect_args(self) -> dict[str, Any]:
        """Keywords of `psycopg.connect`, the password among them."""
        settings: dict[str, object] = {
            "statement_timeout": int(self.statement_timeout_s * 1000),
            "jit": "off",  # compiles a search's statement for 1.6 s, to run it in 50 ms
            "idle_in_transaction_session_timeout": 60_000,
        }
        args: dict[str, Any] = {
            "connect_timeout": self.connect_timeout_s,
            "application_name": self.application,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "keepalives_idle": _STALL_S // 2,
            "keepalives_interval": _STALL_S // 4,
            "keepalives_count": 2,
            "tcp_user_timeout": _STALL_S * 1000,
            "password": self.password,
            "sslmode": self.tls,
            "sslrootcert": str(self.ca) if self.ca else "system" if self.tls == "verify-full" else None,
            "sslcert": str(self.certificate) if self.certificate else None,
            "sslkey": str(self.key) if self.key else None,
        }
        return {name: value for name, value in args.items() if value is not None}


def postgres_url(url: str) -> tuple[URL, str | None]:
    """(URL of the driver without the password, the password if it held one). `url` is `postgresql://user@host:port/database`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise BadInput("the ledger's URL cannot be read", hint="postgresql://USER@HOST:PORT/DATABASE") from None
    if parsed.drivername not in _SCHEMES:
        raise BadInput(f"the ledger's URL begins with {parsed.drivername!r}", hint="postgresql:// is needed")
    password = None if parsed.password is None else str(parsed.password)
    bare = URL.create(
        "postgresql+psycopg",
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query=parsed.query,
    )
    return bare, password


def utf8_only(connection: Any, _: Any) -> None:
    """Looks at a connection of the driver before it is used. Raises BadInput for a database in another encoding: it cannot hold
    every text, and from one in SQL_ASCII the driver brings bytes."""
    encoding, database = connection.info.parameter_status("server_encoding"), connection.info.dbname
    if encoding not in (None, "UTF8"):
        connection.close()
        raise BadInput(
            f"the ledger's database {database!r} has the encoding {encoding}, UTF8 is needed",
            hint="make another: CREATE DATABASE ringwatch ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
        )


def is_postgres(url: str) -> bool:
    return url.split(":", 1)[0] in _SCHEMES


def sqlstate(error: BaseException) -> str:
    """The five characters that name what went wrong; "" where the server did not say, as when it cannot be reached."""
    return getattr(error, "sqlstate", None) or ""


def as_ours(error: Exception, doing: str) -> RingwatchError:
    """An error of the driver as ours; its text never holds what was written, but for the key that was there already."""
    diagnosis, code = getattr(error, "diag", None), sqlstate(error)
    text = getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
    if code == "23505" and diagnosis is not None and diagnosis.message_detail:
        text = f"{text}: {diagnosis.message_detail}"
    message = f"the ledger cannot {doing}: {text}"
    if code[:2] == "28" or code == "42501" or (not code and any(r in text for r in _REFUSED)):
        return ServerDenied(
            message, hint="check user, password, client certificate and rights at the PostgreSQL server"
        )
    if not code and any(u in text for u in _UNTRUSTED):
        hint = "it must be in date, for the name in the URL, and signed by an authority in RINGWATCH_POSTGRES_CA_FILE"
        return StoreAway(message, hint=hint)
    if code == "42P01":
        return StoreAway(
            message, hint="the ledger writer makes the tables when it starts, or `ringwatch ledger upgrade`"
        )
    if code[:2] in _UNAVAILABLE or not code:
        return StoreAway(message, hint=_HINTS.get(code, "is the PostgreSQL server up and reachable? Then try again"))
    return Corrupt(message, hint="restore the ledger from a backup")
