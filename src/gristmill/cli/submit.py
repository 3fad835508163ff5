"""gristmill submit: records from a file or standard input."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Literal

import typer

from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of
from gristmill.client._bodies import format_of

Format = Literal["json", "ndjson", "csv", "parquet", "arrow"]
OnConflict = Literal["replace", "fail"]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "submit")(submit)


def submit(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="File of records; - is standard input.")] = "-",
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the file's suffix; ndjson for standard input.")
    ] = None,
    on_conflict: Annotated[
        OnConflict | None, typer.Option("--on-conflict", help="Where a record with the key exists.")
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Keep records that do not fit aside and let the others go on.")
    ] = False,
    retry_of: Annotated[
        str | None, typer.Option("--retry-of", metavar="JOB", help="These are the rejects of that job, corrected.")
    ] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the records and store nothing.")] = False,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 goes first.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be given several times.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before this time (with offset).")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key and records gives the same job.")
    ] = None,
) -> None:
    """Submit a batch of records (JSON, NDJSON, CSV, Parquet, Arrow stream) and print its job."""
    labels = dict(_label(pair) for pair in label or [])
    name = format or ("ndjson" if file == "-" else format_of(file, None))
    with ExitStack() as stack:
        records: IO[bytes]
        if file == "-":
            if sys.stdin.isatty():
                session.output.note("reading records from standard input; Ctrl-D ends them")
            records = sys.stdin.buffer
        else:
            records = stack.enter_context(Path(file).open("rb"))
        if dry_run and (quarantine or retry_of):
            raise UsageError("--dry-run stores nothing, so it takes neither --quarantine nor --retry-of")
        if dry_run:
            session.output.thing(session.client.validate(dataset, records, format=name))
            return
        on_progress = stack.enter_context(session.output.progress("submit"))
        job = session.client.submit(
            dataset,
            records,
            format=name,
            on_conflict=on_conflict,
            on_error="quarantine" if quarantine else None,
            retry_of=retry_of,
            priority=priority,
            labels=labels,
            run_at=run_at,
            wait=wait_of(wait, timeout),
            on_progress=on_progress,
            idempotency_key=idempotency_key,
        )
    report(session, job)


def _label(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise UsageError(f"--label {pair!r} is not NAME=VALUE")
    return name, value
