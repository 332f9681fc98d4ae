"""`ringwatch topics`: make the Kafka topics, show what is in them, print the schemas of their messages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringwatch.commands.options import AsJson, settings_with

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from bus.lag import GroupState, TopicState
    from bus.topics import Topics

topics_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Kafka topics: make them, see what is in them, print the schemas of their messages.",
)


def register(app: typer.Typer) -> None:
    topics_app.command()(create)
    topics_app.command("list")(show)
    topics_app.command()(schema)
    app.add_typer(topics_app, name="topics")


def create(
    partitions: Annotated[
        int, typer.Option(min=1, max=1000, help="Of the topics that are shared out: as many as scorers will ever be.")
    ] = 6,
    replication: Annotated[int, typer.Option(min=1, max=9, help="Brokers that keep each record: 3 on a cluster.")] = 1,
    json: AsJson = False,
) -> None:
    """Make the topics that are missing. What there is stays as it is; what differs is told.

    Example: `RINGWATCH_BUS_URL=kafka://127.0.0.1:9092 ringwatch topics create`
    """
    topics, client = _open()
    done = topics.create(client, partitions=partitions, replication=replication)
    if json:
        _write({"created": done.created, "left": done.left, "differences": done.differences})
        return
    typer.echo(f"made: {', '.join(done.created) or 'nothing, all were there'}")
    for difference in done.differences:
        typer.echo(f"differs: {difference}")


def show(json: AsJson = False) -> None:
    """List the topics with their partitions and ends, and how far each consumer group has read."""
    from bus.lag import group_states, topic_states

    topics, client = _open()
    states, groups = topic_states(client, topics), group_states(client, topics)
    if json:
        _write({"topics": states, "groups": groups})
        return
    if not states:
        typer.echo(f"there is no topic {topics.prefix}.*: `ringwatch topics create` makes them")
        return
    _print(states, groups)


def schema(
    name: Annotated[str | None, typer.Argument(help="A schema; left out: their names.")] = None,
) -> None:
    """Print the JSON Schema of a message: of events and labels that come in, and of all that goes out.

    Example: `ringwatch topics schema decision`
    """
    from bus import schema as published
    from bus.topics import Topics

    if name is not None:
        typer.echo(published.schema(name), nl=False)
        return
    topics = Topics(settings_with().topic_prefix)
    for known, kind in published.TOPIC_OF.items():
        typer.echo(f"{known:<12} on {topics.name(kind)}")


def _open() -> tuple[Topics, AdminClient]:
    """Of the settings; raises BadInput without a cluster, Unavailable where none answers."""
    from bus.clients import reached
    from bus.topics import Topics
    from ringwatch.access import open_bus

    settings = settings_with()
    return Topics(settings.topic_prefix), reached(open_bus(settings))


def _write(content: Any) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(content) + b"\n")


def _print(states: Sequence[TopicState], groups: Sequence[GroupState]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("topic", "partitions", "copies", "kept", "ends", box=None, header_style="bold")
    for t in states:
        kept = sum(end - first for first, end in zip(t.first, t.end, strict=True))
        table.add_row(t.name, str(len(t.end)), str(t.replication), f"{kept:,}", " ".join(map(str, t.end)))
    console.print(table)
    console.print(
        "[dim]kept: from the oldest offset to the end; a transaction takes one more, compaction leaves gaps[/dim]"
    )
    if not groups:
        console.print("no consumer group has read yet")
        return
    table = Table("group", "state", "members", "topic", "lag", box=None, header_style="bold")
    for g in groups:
        for n, (topic, lag) in enumerate(g.lag.items()):
            mine = (g.name, g.state, str(g.members)) if n == 0 else ("", "", "")
            table.add_row(*mine, topic, f"{sum(lag):,}")
        if not g.lag:
            table.add_row(g.name, g.state, str(g.members), "", "")
    console.print(table)
