"""Whether a file may have changed, told without reading it."""

from __future__ import annotations

import os
import time
from pathlib import Path

_RACY_NS = 2_000_000_000
"""A file changed this lately may change again within the tick of its clock: it is read again, not trusted."""
Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    """What tells that the file is the same; None when it may not be, or is not there."""
    try:
        s = os.stat(path)
    except OSError:
        return None
    recent = abs(time.time_ns() - max(s.st_mtime_ns, s.st_ctime_ns)) < _RACY_NS
    return None if recent else (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino)
