"""Draws docs/demo.svg: the demo as a terminal shows it (`make docs`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 112


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
        done = subprocess.run(
            [sys.executable, "-m", "ringwatch.cli", "demo", "--data-dir", f"{folder}/ringwatch-demo"],
            env={**os.environ, **shown},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        text = re.sub(r"\x1b\[[0-9;?]*[A-Zac-ln-z]", "", done.stdout).replace(f"{folder}/", "")
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(Text.from_ansi("$ make run\n" + text.rstrip()), soft_wrap=False)
    (Path(__file__).parent / "demo.svg").write_text(console.export_svg(title="ringwatch demo"))


if __name__ == "__main__":
    main()
