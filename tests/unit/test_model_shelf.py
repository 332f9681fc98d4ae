"""The folder of models: what is put on it stays, what serves is named, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringwatch.errors import BadInput, Corrupt, NotFound
from scorers.learned.shelf import Placed, Serving, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "models")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "trained"
    path.write_bytes(b"one")
    return path


def test_what_was_put_and_said_is_found_again(shelf: Shelf, model: Path) -> None:
    assert shelf.serving() == Serving()
    placed = shelf.put("1", model)
    assert placed == shelf.put("1", model) == shelf.placed("1")
    assert placed.id.startswith("1.")
    assert len(placed.id) == 10
    shelf.serve(Serving(placed))
    assert Shelf(shelf.folder).serving() == Serving(placed, None)
    assert shelf.model(placed).read_bytes() == b"one"
    shelf.serve(Serving(None, placed))
    assert shelf.serving() == Serving(None, placed)


def test_a_version_never_becomes_another_model(shelf: Shelf, model: Path) -> None:
    placed = shelf.put("1", model)
    model.write_bytes(b"two")
    with pytest.raises(BadInput, match="another model has this version"):
        shelf.put("1", model)
    shelf.path("1").write_bytes(b"damaged")
    with pytest.raises(Corrupt, match="not the model"):
        shelf.serve(Serving(placed))
    assert shelf.serving() == Serving()


def test_a_damaged_file_is_mended_by_the_registered_one_and_keeps_nobody_else_from_changing(
    shelf: Shelf, model: Path, tmp_path: Path
) -> None:
    one = shelf.put("1", model)
    (tmp_path / "two").write_bytes(b"two")
    two = shelf.put("2", tmp_path / "two")
    shelf.serve(Serving(one, two))
    shelf.path("2").write_bytes(b"damaged")
    shelf.serve(Serving(None, two))
    with pytest.raises(BadInput, match="not the one that was registered"):
        shelf.put("2", model, two.sha256)
    assert shelf.path("2").read_bytes() == b"damaged"
    assert shelf.put("2", tmp_path / "two", two.sha256) == two
    assert shelf.model(two).read_bytes() == b"two"
    shelf.list_path.write_text("{")
    shelf.serve(Serving(one))
    assert shelf.serving() == Serving(one)


def test_what_is_not_there_does_not_serve(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model '7'"):
        shelf.serve(Serving(Placed("7", "0" * 64)))
    with pytest.raises(NotFound, match="no model at"):
        shelf.put("1", tmp_path / "absent")


@pytest.mark.parametrize("version", ["", "..", "a/b", "-x", "a" * 65, "1\n"])
def test_versions_are_plain_names(shelf: Shelf, version: str) -> None:
    with pytest.raises(BadInput, match="no version"):
        shelf.path(version)


@pytest.mark.parametrize("text", ["{", "[]", '{"champion": {"version": 1}}'])
def test_a_damaged_list_says_so(shelf: Shelf, text: str) -> None:
    shelf.folder.mkdir()
    (shelf.folder / "serving.json").write_text(text)
    with pytest.raises(Corrupt, match=r"serving\.json"):
        shelf.serving()
