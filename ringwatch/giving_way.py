"""Precedence on a machine that is busy: what no decision waits for gives way to what decides."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = 5
"""Beside a process of the usual precedence such a one gets a quarter of a core that both want, and all of one that is idle."""


def give_way(pid: int = 0) -> None:
    """Lower the precedence of a process (0: of this one), threads it starts from now on included.

    Linux shares the processor between sessions first (autogroup) and looks at precedence within them only, so that of the session is lowered
    with that of the process that leads it. Where neither may be set nothing changes.
    """
    pid = pid or os.getpid()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        if os.getsid(pid) == pid:
            Path(f"/proc/{pid}/autogroup").write_text(str(NICE))
