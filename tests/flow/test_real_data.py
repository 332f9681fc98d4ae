"""The mappings in the repository read the data sets they are for. `FRAUD_DATA` names the folder that holds them."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from ingest.mapping import load_mapping
from ringwatch.model import Event, Label, Refusal
from tests.support.cli import ringwatch
from tests.support.door import source_of

ROOT = Path(__file__).parents[2]
FOLDER = os.environ.get("FRAUD_DATA")
SETS = {
    "handbook": ("handbook/transactions.parquet", {"user", "terminal"}),
    "sffsd": ("sffsd/S-FFSD.csv.gz", {"user", "target", "location"}),
}
pytestmark = pytest.mark.skipif(FOLDER is None, reason="FRAUD_DATA does not name the folder of the public data sets")


@pytest.mark.parametrize("name", SETS)
def test_the_first_records_are_read_whole(name: str) -> None:
    path, kinds = SETS[name]
    mapping = load_mapping(ROOT / "mappings" / f"{name}.yaml")
    source = source_of(Path(str(FOLDER)) / path, mapping, chunk=2000)
    items = [item for chunk in islice(source.read(), 5) for item in chunk.items]
    events = [item for item in items if isinstance(item, Event)]
    assert len(events) >= 5000
    assert not [item for item in items if isinstance(item, Refusal)]
    assert [item for item in items if isinstance(item, Label)]
    assert set(events[0].entities) == kinds
    assert all(event.amount_minor is not None for event in events)


def test_the_published_protocol_runs() -> None:
    path = Path(str(FOLDER)) / SETS["sffsd"][0]
    protocol = ROOT / "mappings" / "sffsd-random.protocol.yaml"
    args = (path, "--map", ROOT / "mappings" / "sffsd.yaml", "--protocol", protocol, "--json")
    report = ringwatch("backtest", *args).json()
    assert (report["events"], report["labelled"], report["frauds"]) == (77_881, 29_643, 5_256)
    assert report["figures"]["rows"] == 17_786
