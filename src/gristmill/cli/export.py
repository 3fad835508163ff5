"""gristmill export: a dataset to a file or standard output."""

import sys
from typing import Annotated, Literal

import typer

from gristmill.cli.exits import UsageError, parse_json, parse_names
from gristmill.cli.session import Session, command

Format = Literal["csv", "ndjson", "parquet", "arrow"]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "export")(export)


def export(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="- is standard output.")] = "-",
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the file's suffix; ndjson for standard output.")
    ] = None,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")] = None,
    start: Annotated[str | None, typer.Option(help="Start of the time window, included.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the time window, included.")] = None,
    fields: Annotated[str | None, typer.Option(metavar="NAMES", help="As in: id,note. Default: all.")] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="With each record's vector.")] = False,
) -> None:
    """Export records as CSV, NDJSON, Parquet or Arrow, however many. FILE is there when the export is complete."""
    options = {
        "where": None if where is None else parse_json(where, "--where"),
        "start": start,
        "end": end,
        "fields": parse_names(fields),
        "embedding": embedding,
    }
    if out == "-":
        if session.output.json:
            raise UsageError("--json needs --out FILE: standard output would hold the records")
        if format in ("parquet", "arrow") and sys.stdout.isatty():
            raise UsageError(f"{format.capitalize()} is no text: give --out FILE")
        session.client.export(dataset, sys.stdout.buffer, format=format or "ndjson", **options)  # type: ignore[arg-type]
        return
    size = session.client.export(dataset, out, format=format, **options)  # type: ignore[arg-type]
    session.output.thing({"dataset": dataset, "file": out, "bytes": size})
