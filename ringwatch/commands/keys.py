"""`ringwatch keys`: the keys of the API are made, listed, revoked."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.audit import recorded, who
from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import BadInput

if TYPE_CHECKING:
    from api.keys import KeyFile, StoredKey
    from desk.store import Act, Desk
    from ringwatch.settings import Settings

_LOCAL_KEY = "local"
keys_app = typer.Typer(name="keys", no_args_is_help=True, help="API keys: make, list, revoke.")


def register(app: typer.Typer) -> None:
    app.add_typer(keys_app, name="keys")


def key_file_of(settings: Settings) -> KeyFile:
    """The keys of a data folder, which is made if there is none."""
    from api.keys import KeyFile
    from ingest.folder import MARKER, DataFolder

    if not (settings.data_dir / MARKER).exists():
        DataFolder(settings.data_dir).close()
    return KeyFile(settings.data_dir, time.time)


def local_key_of(key_file: KeyFile, tenant: str, desk: Desk) -> str:
    """A fresh key named local, in place of the last one: a key cannot be shown again. In the audit trail, where there is a key for that."""
    from api.keys import SCOPES

    gone = [
        pair
        for key in key_file.entries() if key.name == _LOCAL_KEY and key.revoked_s is None
        for pair in key_file.revoke(key.key_id)
    ]  # fmt: skip
    made, token = key_file.create(tenant, _LOCAL_KEY, SCOPES)
    if desk.records:
        acts = [key_act(who(), "keys.revoke", before, key) for before, key in gone]
        desk.record(*acts, key_act(who(), "keys.create", None, made))
    return token


@keys_app.command()
def create(
    name: Annotated[str, typer.Option(help="What it is for; to find it again.")],
    tenant: Annotated[str | None, typer.Option(help="Whose data it opens (default: RINGWATCH_TENANT).")] = None,
    scopes: Annotated[
        str | None,
        typer.Option(help="Of score, read, label, operate, act, lead; with commas (default: score,read,label)."),
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="Instead of scopes: viewer, investigator, lead, admin or service.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, max=36500, help="Days until it expires.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once. A running server takes it at once, and from then on wants keys.

    Example: `RINGWATCH_KEY=$(ringwatch keys create --tenant acme --name ci)`
    """
    from api.keys import DEFAULT_SCOPES, role_scopes
    from ingest.card_numbers import holds_card_number

    settings = settings_with(data_dir)
    tenant = tenant or settings.tenant
    if not _is_name(tenant) or holds_card_number(tenant):
        raise BadInput(f"tenant {tenant!r} is no name", hint="letters, digits and . _ : @ - are taken")
    if not _is_name(name):
        raise BadInput(f"name {name!r} is no name", hint="letters, digits and . _ : @ - are taken")
    if scopes is not None and role is not None:
        raise BadInput("--scopes and --role are given", hint="a role is a set of scopes: give one of them")
    wanted = (
        DEFAULT_SCOPES if scopes is None else tuple(dict.fromkeys(s.strip() for s in scopes.split(",") if s.strip()))
    )
    if role is not None:
        wanted = role_scopes(role)
    if not wanted:
        raise BadInput("--scopes names none", hint="score, read, label, operate, act, lead; with commas")
    with recorded(settings) as record:
        key, token = key_file_of(settings).create(tenant, name, wanted, days, role or "")
        record(key_act(who(), "keys.create", None, key))
    print(token, flush=True)
    said = f"{role}, may" if role else "may"
    print(f"key {key.key_id} of tenant {tenant}, {said} {', '.join(wanted)}; it is not shown again", file=sys.stderr)


@keys_app.command("list")
def list_keys(data_dir: DataDir = None, json: AsJson = False) -> None:
    """List keys: whose, what they may, when made and last used. The keys themselves are not stored."""
    import msgspec

    key_file = key_file_of(settings_with(data_dir))
    used = key_file.last_used()
    rows = [
        {
            "id": k.key_id, "name": k.name, "tenant": k.tenant, "role": k.role or None, "scopes": list(k.scopes), "created": _when(k.created_s),
            "last_used": _when(used.get(k.key_id)), "expires": _when(k.expires_s), "revoked": _when(k.revoked_s),
        }
        for k in key_file.entries()
    ]  # fmt: skip
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode() + "\n")
        return
    for row in rows or [{"keys": "none"}]:
        print("  ".join(f"{name} {','.join(v) if isinstance(v, list) else v}" for name, v in row.items() if v))


@keys_app.command()
def revoke(which: Annotated[str, typer.Argument(help="Id or name of the key.")], data_dir: DataDir = None) -> None:
    """Revoke a key; a running server refuses it from the next request on. It is revoked even where that cannot be recorded."""
    settings = settings_with(data_dir)
    found = key_file_of(settings).revoke(which)
    for _, key in found:
        print(f"revoked {key.key_id} ({key.name}, tenant {key.tenant})", flush=True)
    with recorded(settings) as record:
        for before, key in found:
            record(key_act(who(), "keys.revoke", before, key))


def key_act(by: str, did: str, before: StoredKey | None, key: StoredKey) -> Act:
    """For the audit trail of the key's tenant; nothing in it gives the key."""
    from desk.store import Act

    def shown(k: StoredKey) -> dict[str, Any]:
        times = {"expires": _when(k.expires_s), "revoked": _when(k.revoked_s)}
        return {"name": k.name, "role": k.role, "scopes": k.scopes, **times}

    return Act(key.tenant, by, did, "key", key.key_id, None if before is None else shown(before), shown(key))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 128 and all(c.isalnum() or c in "._:@-" for c in text)


def _when(second: int | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")
