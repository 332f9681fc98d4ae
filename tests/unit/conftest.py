"""What tests of learned models share: a shelf, and two models on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.models import put, trained

from scorers.learned.shelf import Placed, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@pytest.fixture
def one(shelf: Shelf, tmp_path: Path) -> Placed:
    return put(shelf, "one", trained(1), tmp_path)


@pytest.fixture
def two(shelf: Shelf, tmp_path: Path) -> Placed:
    return put(shelf, "two", trained(2), tmp_path)
