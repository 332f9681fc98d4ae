"""Commands of the shared state: status, snapshot, rebuild."""

from __future__ import annotations

import json as jsonlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ringwatch.commands.options import AsJson, DataDir, settings_with
from ringwatch.errors import Conflict

if TYPE_CHECKING:
    from ringwatch.settings import Settings
    from roles.logs import DecisionsLog
    from roles.rebuild import Progress, Replayed

state_app = typer.Typer(
    name="state", no_args_is_help=True, help="The shared state store: how it is, snapshot, rebuild."
)


def register(app: typer.Typer) -> None:
    app.add_typer(state_app, name="state")


@state_app.command()
def status(data_dir: DataDir = None, json: AsJson = False) -> None:
    """How large the store is, and whether it is whole.

    Example: `ringwatch state status --json`
    """
    from features.shared_state import StateLost

    settings = settings_with(data_dir)
    state, _, _ = _parts(settings)
    try:
        state.ready()
        whole = True
    except StateLost:
        whole = False
    found: dict[str, Any] = {"whole": whole, "tenants": state.tenants(), **state.stats()}
    if json:
        print(jsonlib.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:12} {', '.join(value) if isinstance(value, list) else value}")
    if not whole:
        print(
            "the state was lost, or never was: a scorer rebuilds it when it starts, `ringwatch state rebuild` does it now"
        )


@state_app.command()
def snapshot(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Replay what was decided since the last state snapshot and keep the result, so that a rebuild begins there.

    It reads the decisions only: Redis and the scorers are not touched, and it may run at any time, from cron for example.

    Example: `ringwatch state snapshot`
    """
    from ringwatch.shared_wiring import replayed_of
    from roles.rebuild import tell_missing

    settings = settings_with(data_dir)
    _, log, schema = _parts(settings)
    began = time.monotonic()
    replayed = replayed_of(settings, schema)
    replayed.load()
    tell_missing(log, replayed)
    with _progress(log, replayed, quiet=json) as told:
        replayed.catch_up(log, told)
    replayed.save()
    _say(replayed, began, json=json)


@state_app.command()
def rebuild(data_dir: DataDir = None, json: AsJson = False) -> None:
    """Restore the state from its last snapshot and a replay of the decisions.

    Scorers may run meanwhile: their answers say `state_rebuilding` until it is through, events from Kafka wait.

    Example: `ringwatch state rebuild`
    """
    from ringwatch.shared_wiring import replayed_of
    from roles.rebuild import rebuild as run

    settings = settings_with(data_dir)
    state, log, schema = _parts(settings)
    began = time.monotonic()
    replayed = replayed_of(settings, schema)
    replayed.load()
    with _progress(log, replayed, quiet=json) as told:
        done = run(state, log, replayed, f"rebuild.{os.getpid()}", told)
    if not done:
        raise Conflict(
            "another process rebuilds the state already", hint="`ringwatch state status` says when it is whole"
        )
    _say(replayed, began, json=json)


def _parts(settings: Settings) -> Any:
    from bus.topics import Topics
    from features.schema import FeatureSchema
    from ringwatch.access import open_bus, open_shared_state
    from ringwatch.shared_wiring import kinds_of
    from roles.logs import DecisionsLog

    schema = FeatureSchema(kinds_of(settings.data_dir))
    log = DecisionsLog(open_bus(settings), Topics(settings.topic_prefix).decisions)
    return open_shared_state(settings, schema), log, schema


@contextmanager
def _progress(log: DecisionsLog, replayed: Replayed, *, quiet: bool) -> Iterator[Progress]:
    """Messages so far of those there are, with rate and ETA."""
    from rich.console import Console

    from ringwatch.progress import CountBar

    left = sum(log.ends().values()) - sum(replayed.positions.values())
    with CountBar(Console(stderr=True), "replay of the decisions", quiet=quiet) as bar:
        yield lambda n: bar.show(n, max(left, n))


def _say(replayed: Replayed, began: float, *, json: bool) -> None:
    seconds, messages, entities = time.monotonic() - began, replayed.messages, replayed.entities()
    if json:
        sys.stdout.write(
            jsonlib.dumps(
                {"messages": messages, "missing": replayed.missing, "entities": entities, "seconds": round(seconds, 2)}
            )
            + "\n"
        )
        return
    print(f"{messages:,} messages of the decisions replayed in {seconds:.1f} s")
    if replayed.missing:
        print(f"without {replayed.missing:,} that the topic no longer has: what was known from them alone is lost")
    for tenant, n in sorted(entities.items()):
        print(f"  {tenant}: {n:,} entities")
