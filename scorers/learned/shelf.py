"""The folder of models that serve. Training puts models here and says which one is champion and which challenger; serving reads that, and
nothing else passes between the two.

`versions/<version>/model.safetensors` are models, which never change; `serving.json` names those that serve, with their hashes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import msgspec

from ringwatch.errors import BadInput, Corrupt, NotFound

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SERVING = "serving.json"
_MODEL = "model.safetensors"


class Placed(msgspec.Struct, frozen=True):
    """A model on the shelf."""

    version: str
    sha256: str
    """Of its file."""

    @property
    def id(self) -> str:
        """What decisions name it by: version and the start of its hash."""
        return f"{self.version}.{self.sha256[:8]}"


class Serving(msgspec.Struct, frozen=True):
    """Which models serve: the champion decides, the challenger is scored beside it."""

    champion: Placed | None = None
    challenger: Placed | None = None


class Shelf:
    """Raises BadInput for a version that is no name, Corrupt for files that cannot be read or are not what was put here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def list_path(self) -> Path:
        """The file that says what serves; replaced whole."""
        return self.folder / _SERVING

    def path(self, version: str) -> Path:
        if _VERSION.fullmatch(version) is None:
            raise BadInput(f"{version!r} is no version of a model", hint="letters, digits, - and _, at most 64")
        return self.folder / "versions" / version / _MODEL

    def put(self, version: str, model: Path, sha256: str = "") -> Placed:
        """Copy a model here; the same one again changes nothing. `sha256`: what its file has to be, which also mends one that was damaged
        here. Raises BadInput for a file that is another, and without `sha256` for another one of a version that is taken."""
        to, found = self.path(version), _sha256(model)
        if sha256 and found != sha256:
            message = f"model {version}: its file is not the one that was registered"
            raise BadInput(message, hint="restore the registry's artifacts, or train anew")
        if to.exists() and _sha256(to) == found:
            return Placed(version, found)
        if to.exists() and not sha256:
            raise BadInput(f"{to}: another model has this version", hint="versions never change: train a new one")
        to.parent.mkdir(parents=True, exist_ok=True)
        beside = to.with_name(f"{_MODEL}.new")
        shutil.copyfile(model, beside)
        beside.replace(to)
        return Placed(version, found)

    def placed(self, version: str) -> Placed:
        """Raises NotFound."""
        path = self.path(version)
        if not path.is_file():
            raise NotFound(f"no model {version!r} in {self.folder}", hint="`ringwatch models list` names what there is")
        return Placed(version, _sha256(path))

    def serving(self) -> Serving:
        """Empty where nothing was ever said."""
        path = self.list_path
        try:
            return msgspec.json.decode(path.read_bytes(), type=Serving)
        except FileNotFoundError:
            return Serving()
        except (OSError, msgspec.DecodeError) as error:
            raise Corrupt(f"{path}: {error}", hint="promote a model again, or remove the file to serve none") from None

    def serve(self, serving: Serving) -> None:
        """From now on these serve; processes that run take it over. Raises NotFound, Corrupt where one that did not serve is not on the
        shelf; one that did is no reason to keep the other from changing."""
        try:
            before = self.serving()
        except Corrupt:
            before = Serving()
        for placed in (serving.champion, serving.challenger):
            if placed is not None and placed not in (before.champion, before.challenger):
                self.model(placed)
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f"{_SERVING}.new"
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(serving), indent=2))
        beside.replace(self.list_path)

    def model(self, placed: Placed) -> Path:
        """The file of a model. Raises NotFound where it is gone, Corrupt where it is another."""
        found = self.placed(placed.version)
        if found.sha256 != placed.sha256:
            hint = "restore the file, or promote another version"
            raise Corrupt(f"{self.path(placed.version)}: not the model that was put here", hint=hint)
        return self.path(placed.version)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFound(f"no model at {path}", hint="give the file that training wrote") from None
