"""gristmill exports: files that the server makes and keeps for a while."""

from itertools import islice
from typing import Annotated

import typer

from gristmill.cli.exits import parse_json, parse_names
from gristmill.cli.export import Format
from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="Stored exports: files that the server makes in a job, and keeps a while.")

ExportId = Annotated[str, typer.Argument(metavar="EXPORT", help="Id of the export, which is that of its job.")]


@command(app, "create")
def create(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    format: Annotated[Format, typer.Option("--format", "-f")] = "parquet",
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")] = None,
    start: Annotated[str | None, typer.Option(help="Start of the time window, included.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the time window, included.")] = None,
    fields: Annotated[str | None, typer.Option(metavar="NAMES", help="As in: id,note. Default: all.")] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="With each record's vector.")] = False,
    keep: Annotated[
        str | None, typer.Option(help="How long: 24h, 7d. Default: as long as the server keeps them.")
    ] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Have a file made of a dataset, or of a part of it."""
    with session.output.progress("export") as show:
        job = session.client.create_export(
            dataset,
            format=format,
            where=None if where is None else parse_json(where, "--where"),
            start=start,
            end=end,
            fields=parse_names(fields),
            embedding=embedding,
            keep=keep,
            wait=wait_of(wait, timeout),
            on_progress=show,
        )
    report(session, job)
    if job["done"] and not session.output.json:
        session.output.line(f"export {job['id']}: {job['result']['rows']} rows, {job['result']['bytes']} bytes")


@command(app, "list")
def list_exports(
    session: Session,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
) -> None:
    """List the exports that can be read, newest first."""
    columns = ["id", "dataset", "format", "rows", "bytes", "created_at", "expires_at"]
    session.output.rows(islice(session.client.exports(dataset), limit), columns, "there are no stored exports")


@command(app, "show")
def show(session: Session, export: ExportId) -> None:
    """Show an export: size, checksum, expiry."""
    session.output.thing(session.client.stored_export(export))


@command(app, "download")
def download(
    session: Session,
    export: ExportId,
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE")],
) -> None:
    """Download the file of an export. FILE is there when it is complete and its checksum is right."""
    size = session.client.download_export(export, out)
    session.output.thing({"export": export, "file": out, "bytes": size})


@command(app, "link")
def link(
    session: Session,
    export: ExportId,
    seconds: Annotated[int | None, typer.Option("--expires-in", min=1, help="Seconds. Default: an hour.")] = None,
) -> None:
    """Print a URL that opens the file without a key, for a while."""
    url = session.client.export_link(export, seconds)
    if session.output.json:
        session.output.document({"url": url})
    else:
        session.output.line(url)


@command(app, "delete")
def delete(session: Session, export: ExportId, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Delete an export. Nobody can read it from now on."""
    report(session, session.client.delete_export(export, wait=wait_of(wait, timeout)))
