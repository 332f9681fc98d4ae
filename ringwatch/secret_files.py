"""Passwords and certificates from files: read once, refused when half set, never in a message."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ringwatch.errors import BadInput
from ringwatch.settings import Settings


def password_of(settings: Settings, server: str, *, username: bool = True) -> str | None:
    """The password of a server from `<server>_password_file`; None where none is set. With `username`, both or none must be set."""
    path: Path | None = getattr(settings, f"{server}_password_file")
    if username:
        _both(settings, f"{server}_username", f"{server}_password_file")
    if path is None:
        return None
    try:
        text = path.read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{_name(f'{server}_password_file')} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}: {path}",
            hint="a text file with the password alone, readable by this user only",
        ) from None
    if not text:
        raise BadInput(f"{_name(f'{server}_password_file')} is empty: {path}", hint="write the password into it")
    return text


def certificate_of(settings: Settings, server: str) -> tuple[Path | None, Path | None]:
    """Our certificate and its key for a server: both or none."""
    _both(settings, f"{server}_cert_file", f"{server}_key_file")
    return readable(settings, f"{server}_cert_file"), readable(settings, f"{server}_key_file")


def readable(settings: Settings, name: str) -> Path | None:
    """The path of a setting; BadInput where there is no such file."""
    path: Path | None = getattr(settings, name)
    if path is not None and not path.is_file():
        raise BadInput(f"{_name(name)} names no file: {path}", hint="give the path of a PEM file")
    return path


def without_secret(name: str, url: str) -> str:
    """The URL; refused when it holds a password, which environment listings and logs would show."""
    try:
        parts = urlsplit(url)
        held = parts.password or any(
            "password" in name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError as error:
        raise BadInput(f"{_name(name)} is no URL: {error}", hint="for example scheme://host:port") from None
    if held:
        raise BadInput(
            f"{_name(name)} holds a password",
            hint=f"put it into a file and name that: RINGWATCH_..._PASSWORD_FILE ({parts.scheme}://user@host:port)",
        )
    return url


def _both(settings: Settings, one: str, other: str) -> None:
    given = [name for name in (one, other) if getattr(settings, name)]
    if len(given) == 1:
        missing = other if given[0] == one else one
        raise BadInput(f"{_name(given[0])} is set and {_name(missing)} is not", hint="set both or none")


def _name(setting: str) -> str:
    return f"RINGWATCH_{setting.upper()}"
