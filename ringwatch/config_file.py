"""Reading the configuration files that people write."""

from __future__ import annotations

from pathlib import Path

from ringwatch.errors import BadInput


def config_text(path: Path, what: str, setting: str) -> str:
    """The text of a configuration file. Raises BadInput naming the setting that leads to it."""
    hint = f"unset {setting} or mend it"
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{what} {path} does not exist", hint=hint) from None
    except OSError as error:
        raise BadInput(f"{what} {path} cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise BadInput(f"{what} {path} is not text in UTF-8", hint=hint) from None
