"""`compiled`: as in `features.compiled`, for the functions of this folder."""

from __future__ import annotations

from pathlib import Path

from features.compiled import compiler

compiled = compiler(Path(__file__).parent)
