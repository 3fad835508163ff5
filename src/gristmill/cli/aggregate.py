"""gristmill aggregate: buckets, groups and measures of a dataset, as a table or a file."""

import sys
from typing import Annotated, Any, Literal

import typer

from gristmill.cli.exits import UsageError, parse_json, parse_names
from gristmill.cli.session import Session, command

Format = Literal["json", "ndjson", "csv", "arrow"]
_MEASURE = "AGG[:FIELD[:NAME]], as in mean:value or count; a quantile as in quantile@0.95:value. May be given often."


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "aggregate")(aggregate)


def aggregate(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    measure: Annotated[list[str] | None, typer.Option("--measure", "-m", metavar="MEASURE", help=_MEASURE)] = None,
    every: Annotated[str | None, typer.Option(metavar="LENGTH", help="Of buckets: 15m, 1h, 1d, 1w, 1mo, PT5S.")] = None,
    zone: Annotated[str | None, typer.Option(help="Whose calendar: Europe/Berlin.")] = None,
    origin: Annotated[str | None, typer.Option(help="A time at which a bucket begins.")] = None,
    offset: Annotated[str | None, typer.Option(metavar="LENGTH", help="How much later buckets begin.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAMES", help="Groups, as in: sensor,site")] = None,
    start: Annotated[str | None, typer.Option(help="Start of the time window, included.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the time window, included.")] = None,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")] = None,
    fields: Annotated[str | None, typer.Option(metavar="NAMES", help="The records themselves, these fields.")] = None,
    fill: Annotated[str | None, typer.Option(help='none, null, previous, linear, or {"value": 0}')] = None,
    order: Annotated[str | None, typer.Option(help="Columns, as in: -mean_value,sensor")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Default: all.")] = None,
    rolling: Annotated[str | None, typer.Option(metavar="JSON", help="A list of windows, or @FILE.")] = None,
    pivot: Annotated[str | None, typer.Option(metavar="JSON", help="Or @FILE.")] = None,
    melt: Annotated[str | None, typer.Option(metavar="JSON", help="Or @FILE.")] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="FILE", help="- is standard output.")] = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the file's suffix; csv for standard output.")
    ] = None,
) -> None:
    """Compute over a dataset: a table, or with --out a file. FILE is there when the answer is complete."""
    request: dict[str, Any] = {
        "measures": [_measure(text) for text in measure] if measure else None,
        "every": every,
        "zone": zone,
        "origin": origin,
        "offset": offset,
        "by": parse_names(by),
        "start": start,
        "end": end,
        "fields": parse_names(fields),
        "fill": parse_json(fill, "--fill") if fill is not None and fill.startswith(("{", "@")) else fill,
        "order": order,
        "limit": limit,
    }
    for name, text in (("where", where), ("rolling", rolling), ("pivot", pivot), ("melt", melt)):
        request[name] = None if text is None else parse_json(text, f"--{name}")
    if out is None:
        if format is not None:
            raise UsageError("--format is for --out: without it the answer is a table, or JSON with --json")
        session.output.rows(session.client.aggregate_rows(dataset, **request), empty="no record matches")
    elif out == "-":
        if session.output.json:
            raise UsageError("--json needs --out FILE: standard output would hold the answer")
        if format == "arrow" and sys.stdout.isatty():
            raise UsageError("An Arrow stream is no text: give --out FILE")
        session.client.aggregate_file(dataset, sys.stdout.buffer, format=format or "csv", **request)
    else:
        size = session.client.aggregate_file(dataset, out, format=format, **request)
        session.output.thing({"dataset": dataset, "file": out, "bytes": size})


def _measure(text: str) -> dict[str, Any]:
    """Return the measure that a text such as mean:value:name says."""
    agg, *rest = text.split(":")
    name, at, q = agg.partition("@")
    if len(rest) > 2:
        raise UsageError(f"--measure {text}: expected AGG[:FIELD[:NAME]], such as mean:value")
    found: dict[str, Any] = {"agg": name}
    if at:
        try:
            found["q"] = float(q)
        except ValueError:
            raise UsageError(f"--measure {text}: {q!r} is no number from 0 to 1, as in quantile@0.95") from None
    found |= {member: part for member, part in zip(("field", "as"), rest, strict=False) if part}
    return found
