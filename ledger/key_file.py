"""Files that hold a secret key: hex, for their owner alone, made once."""

from __future__ import annotations

import os
from pathlib import Path

from ringwatch.errors import BadInput

KEY_BYTES = 32


def read_key(path: Path, name: str, *, make: bool, hint: str) -> bytes:
    """The bytes of a file. `name`: what errors call it; `make`: a new one where there is no file; of two processes at once one makes it."""
    if make and not path.exists():
        _make(path)
    try:
        return bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise BadInput(f"the {name} cannot be read: {error.strerror}: {path}", hint=hint) from None
    except ValueError:
        raise BadInput(f"the {name} is not hex: {path}", hint="restore the file") from None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(os.urandom(KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, path)  # of two at once one wins
    except FileExistsError:
        pass
    finally:
        beside.unlink()
