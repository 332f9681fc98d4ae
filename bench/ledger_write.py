"""How fast one writer fills a ledger: `python bench/ledger_write.py [--url postgresql://user@host:port/db --password-file FILE]`.

Without a URL: SQLite in a temporary folder. The database must be empty; it is left as it is filled. Decisions are made before the
clock starts; every transaction holds decisions, alerts, the position and the watermark, and is committed to disk.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.streams import stream

from features.memory_state import MemoryState
from features.schema import FeatureSchema
from ingest.stream import ScoringStream
from ledger.alerting import AlertGrouper
from ledger.personal import MasterKey
from ledger.postgres import PostgresAccess
from ledger.sql_store import SqlLedger
from ledger.store import LedgerWrite, Progress
from ringwatch.model import HOUR_US
from scorers.assess import Assessor
from scorers.decision import Decisions
from scorers.policy import Policy
from scorers.registry import build_scorers

SCHEMA = FeatureSchema()
BATCHES = (20, 200, 2000)


def writes(decisions: Decisions, batch: int, number: int) -> list[LedgerWrite]:
    """As a consumer of partition `number` makes them; event ids of their own."""
    events = [msgspec.structs.replace(e, event_id=f"{number}-{e.event_id}") for e in decisions.events]
    numbered = replace(decisions, events=events, seq=(number << 48) + np.arange(len(events)))
    grouper, found = AlertGrouper(HOUR_US), []
    for start in range(0, len(events), batch):
        piece = numbered.select(start, min(start + batch, len(events)))
        alerts, pairs = grouper.add(piece)
        progress = Progress(f"kafka:bench/{number}", "bench", start + len(piece), int(piece.seq[-1]))
        found.append(LedgerWrite(piece, progress, alerts, pairs, watermark_us=piece.events[-1].at_us))
    return found


def measure(ledger: SqlLedger, decisions: Decisions, batch: int, number: int) -> str:
    every = writes(decisions.select(0, min(len(decisions), batch * 300)), batch, number)
    ledger.write(every[0], if_known="leave")
    took, cpu = [], time.process_time()
    for write in every[1:]:
        started = time.perf_counter()
        ledger.write(write, if_known="leave")
        took.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    rows = sum(len(w.decisions or ()) for w in every[1:])
    p50, p99 = np.percentile(took, (50, 99)) * 1e3
    alerts = sum(len(w.alert_events) for w in every[1:]) / rows
    return (
        f"{batch:>5} a transaction: {rows / sum(took):>7,.0f}/s, write p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"writer {cpu / rows * 1e6:.0f} us a decision; {alerts:.0%} in alerts"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--plain", action="store_true", help="Personal fields are not sealed.")
    wanted = parser.parse_args()
    scoring = ScoringStream(MemoryState(SCHEMA, max_entities=20_000), Assessor(build_scorers(), Policy(), SCHEMA))
    decisions = scoring.feed(list(enumerate(stream(11, wanted.events))))
    password = wanted.password_file.read_text().strip() if wanted.password_file else None
    with tempfile.TemporaryDirectory() as folder:
        url = wanted.url or f"sqlite:///{folder}/ledger.sqlite"
        access = PostgresAccess(password) if wanted.url else None
        master = None if wanted.plain else MasterKey.of(Path(folder) / "personal.key", make=True)
        with closing(SqlLedger(url, SCHEMA, access, master)) as ledger:
            ledger.prepare()
            for number, batch in enumerate(BATCHES):
                print(measure(ledger, decisions, batch, number), flush=True)
            counts = ledger.counts()
            print(f"{counts['bytes'] / counts['assessments']:,.0f} bytes a decision, everything together")


if __name__ == "__main__":
    main()
