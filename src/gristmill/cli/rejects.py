"""gristmill rejects: the records of a job that were quarantined, listed or downloaded."""

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Literal

import typer

from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session, command
from gristmill.client._rejects import REJECT_SUFFIXES

Format = Literal["csv", "ndjson"]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "rejects")(rejects)


def rejects(
    session: Session,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")],
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Download as a file; csv can be corrected and submitted again."),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="FILE", help="- is standard output.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Default: 20; all with --json.")] = None,
) -> None:
    """List the records of a job that did not fit, and why; or download all of them with --format or --out."""
    if format is None and out is None:
        most = limit or (None if session.output.json else 20)
        found = session.client.rejects(job, page_size=None if most is None else min(most, 1000))
        items: Iterator[Mapping[str, Any]] = islice(found, most)
        if not session.output.json:
            items = map(_shown, items)
        session.output.rows(items, empty="no record of this job was rejected")
        return
    if limit is not None:
        raise UsageError("--limit does not go with a download: it has all rejects")
    if out in (None, "-"):
        if session.output.json:
            raise UsageError("--json needs --out FILE: standard output would hold the records")
        session.client.download_rejects(job, sys.stdout.buffer, format=format or "ndjson")
        return
    if format is None and not out.lower().endswith(tuple(REJECT_SUFFIXES)):
        raise UsageError(f"cannot tell the format of {out!r}: give --format csv or ndjson")
    size = session.client.download_rejects(job, out, format=format)
    session.output.thing({"job": job, "file": out, "bytes": size})


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    errors = "; ".join(str(place["reason"]) for place in item["errors"])
    return {"record": item["record"], "line": item["line"], "errors": errors, "raw": item["raw"]}
