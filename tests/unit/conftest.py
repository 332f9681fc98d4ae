"""What tests of learned models share: a shelf, and two models on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.models import put, trained

from scorers.learned.model import LearnedModel
from scorers.learned.shelf import Placed, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@pytest.fixture
def model_of() -> Callable[[int], LearnedModel]:
    """A model by its seed."""
    return trained


@pytest.fixture
def one(shelf: Shelf, model_of: Callable[[int], LearnedModel], tmp_path: Path) -> Placed:
    return put(shelf, "one", model_of(1), tmp_path)


@pytest.fixture
def two(shelf: Shelf, model_of: Callable[[int], LearnedModel], tmp_path: Path) -> Placed:
    return put(shelf, "two", model_of(2), tmp_path)
