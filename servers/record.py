"""What is remembered between commands: `servers.json` in the launcher's folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ringwatch.errors import BadInput, Corrupt
from servers.process import Proc
from servers.server import Sizing, write_private

_NAME = "servers.json"


class Entry(msgspec.Struct):
    """One server: its ports by name, and the process that last ran it."""

    ports: dict[str, int] = {}
    pid: int = 0
    began: str = ""
    wanted: bool = False
    """Whether it was started and not stopped since: a dead one that is wanted has died."""
    started_s: float = 0.0
    """Wall clock, seconds since 1970."""

    @property
    def proc(self) -> Proc | None:
        return Proc(self.pid, self.began) if self.pid else None


class Record(msgspec.Struct):
    servers: dict[str, Entry] = {}
    sizing: Sizing = Sizing()
    format: int = 1


def load(folder: Path) -> Record:
    """An empty record where there is none yet. Raises Corrupt for one that cannot be read."""
    path = folder / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()
    except msgspec.MsgspecError as error:
        raise Corrupt(
            f"{path} cannot be read: {error}", hint="stop the servers by hand, then remove the folder"
        ) from None


def save(folder: Path, record: Record) -> None:
    temporary = folder / f"{_NAME}.part"
    write_private(temporary, msgspec.json.format(msgspec.json.encode(record), indent=1).decode() + "\n")
    temporary.replace(folder / _NAME)


def claim(folder: Path) -> None:
    """Make the folder ours. Raises BadInput for one that holds something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
    except OSError as error:
        raise BadInput(f"{folder} cannot be used: {error.strerror}", hint="choose another --data-dir") from None
    if not (folder / _NAME).exists():
        if any(path.name != "lock" for path in folder.iterdir()):
            raise BadInput(f"{folder} is not empty and not ours", hint="choose an empty folder with --data-dir")
        save(folder, Record())


def exists(folder: Path) -> bool:
    return (folder / _NAME).exists()
