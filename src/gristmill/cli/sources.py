"""gristmill sources: create, list, show, change, pause, resume, delete."""

from itertools import islice
from typing import Annotated, Any

import typer

from gristmill.cli.exits import parse_json
from gristmill.cli.session import Session, command
from gristmill.cli.submit import labels_of

app = typer.Typer(no_args_is_help=True, help="Sources: what submits records to a dataset continuously.")

Name = Annotated[str, typer.Argument(metavar="SOURCE", help="Name of the source.")]
Settings = Annotated[str | None, typer.Option("--settings", metavar="JSON", help="Settings of the kind, or @FILE.")]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Of its jobs; repeatable.")]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=9, help="Of its jobs; 9 goes first.")]


@command(app, "kinds")
def kinds(
    session: Session,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Show the settings of this one.")] = None,
) -> None:
    """List the kinds of sources, or the settings of one."""
    found = session.client.source_kinds()
    if kind is None:
        session.output.rows(found, ["kind", "summary"])
        return
    named = [one for one in found if one["kind"] == kind]
    if not named:
        valid = ", ".join(one["kind"] for one in found)
        raise typer.BadParameter(f"there is no kind {kind!r}; the kinds are: {valid}")
    session.output.thing(named[0] if session.output.json else named[0]["settings"]["properties"])


@command(app, "create")
def create(
    session: Session,
    name: Name,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset that takes its records.")],
    kind: Annotated[str, typer.Option("--kind", "-k", help="One of `gristmill sources kinds`.")] = "simulator",
    settings: Settings = None,
    label: Label = None,
    priority: Priority = None,
    paused: Annotated[bool, typer.Option("--paused", help="It waits to be resumed.")] = False,
) -> None:
    """Create a source. It runs from now on."""
    made = session.client.create_source(
        name,
        kind,
        dataset,
        None if settings is None else parse_json(settings, "--settings"),
        labels=labels_of(label),
        priority=priority,
        paused=paused,
    )
    session.output.thing(made)


@command(app, "list")
def list_sources(
    session: Session,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Of this dataset only.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="running, paused, failed or finished.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 100,
) -> None:
    """List sources in the order of their names."""
    columns = ["name", "kind", "dataset", "state", "records", "rate", "lag.seconds", "waits_for"]
    found = session.client.sources(dataset=dataset, state=state)
    session.output.rows(islice(found, limit), columns, "there are no sources")


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show a source: state, position, rate, lag, last error, and what it waits for."""
    session.output.thing(session.client.source(name))


@command(app, "change")
def change(
    session: Session, name: Name, settings: Settings = None, label: Label = None, priority: Priority = None
) -> None:
    """Change settings, labels or priority of a source. It goes on from where it is."""
    given: dict[str, Any] | None = None if settings is None else parse_json(settings, "--settings")
    found = session.client.change_source(name, settings=given, labels=labels_of(label), priority=priority)
    session.output.thing(found)


@command(app, "pause")
def pause(session: Session, name: Name) -> None:
    """Pause a source: it submits nothing more until it is resumed."""
    session.output.thing(session.client.pause_source(name))


@command(app, "resume")
def resume(session: Session, name: Name) -> None:
    """Let a source go on that is paused, failed or finished."""
    session.output.thing(session.client.resume_source(name))


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete a source. The records that it brought stay."""
    session.client.delete_source(name)
    session.output.thing({"source": name, "deleted": True})
