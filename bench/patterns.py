"""What is found of what is planted: campaigns by pattern, innocents accused, rings, on simulated markets.

python bench/patterns.py [--events 200000] [--seeds 11 12 13] [--days 30] [--json PATH] [--missed]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluate.campaigns import Figures, Truth, Watch
from features.schema import FeatureSchema
from ingest.simulate.simulate import SimulationConfig, write_simulation
from ingest.source import Chunk
from ringwatch.model import BUILTIN_KINDS, Event, Label, Strength
from ringwatch.settings import Settings
from ringwatch.wiring import open_source, open_stream


def measure(seed: int, events: int, days: int, folder: Path) -> Figures:
    market = folder / f"market-{events}-{days}-{seed}"
    if not (market / "events.jsonl").exists():
        write_simulation(SimulationConfig(events=events, seed=seed, days=days), market)
    settings = Settings(data_dir=folder / "none")
    source = open_source(settings, [str(market / "events.jsonl")], None, BUILTIN_KINDS)
    chunks = list(source.read())
    strong = [k.name for k in BUILTIN_KINDS if k.strength is Strength.STRONG and not k.crowded]
    watch = Watch(Truth(market), strong)
    for chunk in chunks:
        watch.expect(item for item in chunk.items if isinstance(item, Event))
    stream = open_stream(settings, FeatureSchema(BUILTIN_KINDS))
    seq, entities = 0, {}
    for chunk in track(chunks, description=f"seed {seed}", transient=True):
        items = []
        for item in _resolved(chunk, entities):
            items.append((seq, item))
            seq += 1
        watch.see(stream.feed(items))
    rings = []
    if stream.rings is not None:
        found = stream.rings.rings(least_users=3)
        rings = [r for s in found if s.risk >= 0.5 and (r := stream.rings.ring(s.tenant, s.ring_id)) is not None]
    return watch.figures(rings)


def _resolved(chunk: Chunk, entities: dict[str, dict[str, str]]) -> list[Any]:
    from features.columns import ResolvedLabel

    items: list[Any] = []
    for item in chunk.items:
        if isinstance(item, Event):
            entities[item.event_id] = item.entities
            items.append(item)
        elif isinstance(item, Label):
            items.append(ResolvedLabel(item, entities[item.target_id]))
    return items


def show(console: Console, runs: dict[int, Figures], *, missed: bool) -> None:
    table = Table(
        "pattern", "campaigns", "found", "recall", "strict", "late", "median delay, events", "innocents named"
    )
    names = [p.pattern for p in next(iter(runs.values())).patterns]
    for name in names:
        rows = [p for f in runs.values() for p in f.patterns if p.pattern == name]
        n, found = sum(p.campaigns for p in rows), sum(p.found for p in rows)
        delays = sorted(p.median_delay_events for p in rows if p.median_delay_events is not None)
        middle = f"{delays[len(delays) // 2]:.0f}" if delays else "-"
        table.add_row(name, str(n), str(found), f"{found / max(1, n):.2f}",
                      f"{sum(p.found_strict for p in rows) / max(1, n):.2f}", str(sum(p.late for p in rows)), middle,
                      str(sum(p.innocents for p in rows)))  # fmt: skip
    console.print(table)
    for seed, f in runs.items():
        r = f.rings
        console.print(
            f"seed {seed}: of {f.innocents:,} innocent users {f.alerted} ({f.alerted_share:.2%}) in urgent alerts, "
            f"{f.named} of them named by a pattern, {f.alerted_any} ({f.alerted_any / max(1, f.innocents):.2%}) in any alert; "
            f"rings: {r.found} of {r.true} found (recall {r.recall:.2f}), {r.right} of {r.reported} right (precision {r.precision:.2f})"
        )
        if missed:
            for p in f.patterns:
                for line in p.missed:
                    console.print("   missed", line)
            for line in r.missed:
                console.print("   ring missed", line)
            for line in r.wrong:
                console.print("   ring wrong", line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--folder", type=Path, help="keep the markets here")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--missed", action="store_true", help="list what was missed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = {seed: measure(seed, args.events, args.days, args.folder or Path(scratch)) for seed in args.seeds}
    show(Console(highlight=False, soft_wrap=True), runs, missed=args.missed)
    if args.json:
        content = {"events": args.events, "days": args.days, "seeds": {s: asdict(f) for s, f in runs.items()}}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
