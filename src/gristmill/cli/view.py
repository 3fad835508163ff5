"""gristmill view: the rows of a view, as a table or in a format."""

import sys
from typing import Annotated, Literal

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command

Format = Literal["json", "ndjson", "csv", "arrow"]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "view")(view)


def view(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    name: Annotated[str, typer.Argument(metavar="VIEW", help="Name of the view.")],
    start: Annotated[str | None, typer.Option(help="Start of the time window, included.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the time window, included.")] = None,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")] = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Write this to standard output in place of a table.")
    ] = None,
) -> None:
    """Show a view of the newest batch, or of a window and a condition."""
    filter_ = None if where is None else parse_json(where, "--where")
    if format is None:
        found = session.client.view(dataset, name, start=start, end=end, where=filter_)
        session.output.rows(found["rows"], empty="the view has no rows")
        return
    if format == "arrow" and sys.stdout.isatty():
        raise UsageError("An Arrow stream is no text: send standard output to a file")
    sys.stdout.buffer.write(session.client.view_bytes(dataset, name, format, start=start, end=end, where=filter_))
