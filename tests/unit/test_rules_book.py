"""Hot reload and published versions: a broken file keeps the old rules, a mended one is taken over."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from support.rule_files import batch, event, rule, rules

from ringwatch.errors import BadInput, Conflict, Corrupt, NotFound
from scorers.detectors.rules import Rules
from scorers.policy import Policy
from scorers.rules.book import RuleBook, _Reading
from scorers.rules.history import RuleHistory
from scorers.rules.starter_sets import starter_text

ONE, TWO = rules(rule("lat > 1")), rules(rule("lat > 2"))
UNPROVED = rules(rule("lat > 1", fixtures="[{event: {lat: 0.5}, expect: true}]"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(path: Path, clock: Clock, **more: bool) -> RuleBook:
    return RuleBook.open(path, every_s=5.0, clock=clock, in_background=False, **more)


def test_a_changed_file_is_taken_over_at_most_every_so_often(tmp_path: Path) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    path.write_text(ONE)
    book = opened(path, clock)
    first = book.version
    path.write_text(TWO)
    assert not book.reload_if_changed()
    clock.now = 5.0
    assert book.reload_if_changed()
    assert book.version != first
    assert not book.reload_if_changed()
    assert book.reloads == 1


@pytest.mark.parametrize("broken", ["rules: [", rules(rule("latt > 1")), UNPROVED, "rules: '\x07'", None, "\udcff"])
def test_a_broken_file_keeps_the_old_rules_and_recovers_by_itself(tmp_path: Path, broken: str | None) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    path.write_text(ONE)
    book = opened(path, clock)
    first = book.version
    path.unlink() if broken is None else path.write_bytes(broken.encode(errors="surrogateescape"))
    for _ in range(2):
        clock.now += 5.0
        assert not book.reload_if_changed()
        assert book.version == first
        assert "stay in force" in book.trouble
        assert str(path) in book.trouble
    path.write_text(TWO)
    clock.now += 5.0
    assert book.reload_if_changed()
    assert not book.trouble


def test_the_same_file_again_ends_the_trouble(tmp_path: Path) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    path.write_text(ONE)
    book = opened(path, clock)
    path.write_text("rules: [")
    clock.now += 5.0
    book.reload_if_changed()
    assert book.trouble
    path.write_text(ONE)
    clock.now += 5.0
    assert not book.reload_if_changed()
    assert not book.trouble


def test_an_old_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    path.write_text(ONE)
    book = opened(path, clock)
    stamp = (1, 1, len(ONE), 1)
    monkeypatch.setattr(book, "_look", lambda: stamp)
    clock.now += 5.0
    book.reload_if_changed()
    monkeypatch.setattr(_Reading, "read", lambda self: pytest.fail("it is read"))
    clock.now += 5.0
    assert not book.reload_if_changed()


def test_a_changed_file_is_read_beside_the_scoring(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(ONE)
    book = RuleBook.open(path, every_s=0.0)
    path.write_text(starter_text("shop"))
    calls = 0
    while not book.reload_if_changed():
        calls += 1
        sleep(0.001)
    assert calls, "the first call does not wait"
    assert book.version == RuleBook.open(path).version


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    with pytest.raises(BadInput, match="does not exist"):
        opened(path, clock)
    book = opened(path, clock, optional=True)
    assert book.version == "none"
    clock.now += 5.0
    assert not book.reload_if_changed()
    assert not book.trouble
    path.write_text(ONE)
    clock.now += 5.0
    assert book.reload_if_changed()


def test_a_broken_file_or_a_failing_fixture_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(rules(rule("latt > 1")))
    with pytest.raises(BadInput, match=r"r\.yaml:5:10: there is no 'latt'"):
        opened(path, Clock())
    path.write_text(UNPROVED)
    with pytest.raises(BadInput, match="does not fire on this fixture, it should"):
        opened(path, Clock())


def test_a_batch_is_decided_by_one_set(tmp_path: Path) -> None:
    path, clock = tmp_path / "r.yaml", Clock()
    path.write_text(rules(rule("lat > 1", action="block")))
    scorer = Rules()
    scorer.use(opened(path, clock))
    one = batch([event(lat=1.5)], [{}])
    assert scorer.score(one)[0] == 0.9
    path.write_text(TWO)
    clock.now += 5.0
    assert scorer.refresh()
    assert [f.code for f in scorer.explain(one, 0)] == ["one"]
    assert scorer.bound(one, np.zeros(1), np.zeros((1, 1)), np.ones((1, 1)), Policy(), 0)[1][0] == 3
    assert scorer.score(batch([event(lat=1.5)], [{}]))[0] == 0.0


def test_writers_that_race_with_reloads(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    good = [rules(rule(f"lat > {i}")) for i in range(3)]
    path.write_text(good[0])
    book = RuleBook.open(path, every_s=0.0, in_background=False)
    versions = {RuleBook.open(_file(tmp_path / f"{i}.yaml", text)).version for i, text in enumerate(good)}
    stop = threading.Event()

    def write() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            path.write_text(good[i % 3] if i % 2 else "rules: [{id: ")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            book.reload_if_changed()
            assert book.version in versions
            assert len(book.active.rules.rules) == 1
    finally:
        stop.set()
        writer.join()
    path.write_text(good[2])
    book.reload_if_changed()
    assert book.version == RuleBook.open(path).version
    assert not book.trouble


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def publish(history: RuleHistory, text: str, tmp_path: Path, note: str = "") -> str:
    return history.publish(
        _file(tmp_path / "new.yaml", text), by="anna", note=note, at="2026-05-01T12:00:00+00:00"
    ).version


def back(history: RuleHistory, version: str | None = None) -> str:
    return history.rollback(version, by="ben", note="", at="2026-05-02T12:00:00+00:00").version


def test_publish_history_and_rollback(tmp_path: Path) -> None:
    history = RuleHistory(tmp_path)
    a, b = publish(history, ONE, tmp_path), publish(history, TWO, tmp_path, "stricter")
    c = publish(history, rules(rule("lat > 3")), tmp_path)
    assert [(p.version, p.by, p.note, p.did) for p in history.all()] == [
        (a, "anna", "", "publish"), (b, "anna", "stricter", "publish"), (c, "anna", "", "publish"),
    ]  # fmt: skip
    assert back(history) == b
    assert history.text() == TWO
    assert back(history) == a, "one step further, not forth and back"
    with pytest.raises(NotFound, match="no earlier version"):
        back(history)
    assert back(history, c[:5]) == c
    assert history.text(b) == TWO
    assert RuleBook.open(history.active_path).version == c


def test_what_cannot_be_published(tmp_path: Path) -> None:
    history = RuleHistory(tmp_path)
    version = publish(history, ONE, tmp_path)
    with pytest.raises(Conflict, match="are active already"):
        publish(history, "# again\n" + ONE, tmp_path)
    for broken in (rules(rule("latt > 1")), UNPROVED):
        with pytest.raises(BadInput):
            publish(history, broken, tmp_path)
    assert [p.version for p in history.all()] == [version]
    assert history.text() == ONE
    with pytest.raises(NotFound, match="no version begins with 'zz'"):
        back(history, "zz")
    with pytest.raises(BadInput, match="does not exist"):
        history.publish(tmp_path / "none.yaml", by="", note="", at="")


def test_history_that_was_changed_by_hand(tmp_path: Path) -> None:
    history = RuleHistory(tmp_path)
    a = publish(history, ONE, tmp_path)
    publish(history, TWO, tmp_path)
    (history.folder / f"{a}.yaml").write_text(TWO)
    with pytest.raises(Corrupt, match="changed by hand"):
        back(history)
    with (history.folder / "history.jsonl").open("a") as file:
        file.write("{")
    with pytest.raises(Corrupt, match=r"history\.jsonl"):
        history.all()


def test_a_published_set_is_taken_over_by_who_watches_it(tmp_path: Path) -> None:
    history, clock = RuleHistory(tmp_path), Clock()
    book = opened(history.active_path, clock, optional=True)
    for text in (ONE, TWO):
        version = publish(history, text, tmp_path)
        clock.now += 5.0
        assert book.reload_if_changed()
        assert book.version == version
    assert not [name for name in os.listdir(history.folder) if name.endswith(".part")]
