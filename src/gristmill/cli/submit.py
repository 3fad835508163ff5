"""gristmill submit: records from files or standard input."""

import sys
import time
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import typer

from gristmill.cli.dialect import DecimalSign, Delimiter, Encoding, Null, Quote, Thousands, dialect_of
from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of
from gristmill.client import UnfinishedJob
from gristmill.client._bodies import format_of

Format = Literal["json", "ndjson", "csv", "parquet", "arrow", "zip", "xlsx"]
OnConflict = Literal["replace", "fail", "skip"]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "submit")(submit)


def submit(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE…|-]", help="Files of records, a job each; .gz and .zst too. - is standard input."
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the file's suffix; ndjson for standard input.")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option("--sheet", help="Of workbooks of Excel, where several have values.")
    ] = None,
    on_conflict: Annotated[
        OnConflict | None, typer.Option("--on-conflict", help="Where a record with the key exists.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help='"merge": change only the fields that a record gives; else "replace".')
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Keep records that do not fit aside and let the others go on.")
    ] = False,
    retry_of: Annotated[
        str | None, typer.Option("--retry-of", metavar="JOB", help="These are the rejects of that job, corrected.")
    ] = None,
    delimiter: Delimiter = None,
    decimal: DecimalSign = None,
    thousands: Thousands = None,
    encoding: Encoding = None,
    null: Null = None,
    quote: Quote = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the records, through the pipeline too, and store nothing.")
    ] = False,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 goes first.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be given several times.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before this time (with offset).")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key and records gives the same job.")
    ] = None,
) -> None:
    """Submit batches of records (JSON, NDJSON, CSV, Parquet, Arrow stream, .xlsx) and print their jobs."""
    labels = labels_of(label) or {}
    given = files or ["-"]
    formats = [format or ("ndjson" if file == "-" else format_of(file, None)) for file in given]
    several = len(given) > 1
    if several and ("-" in given or retry_of or idempotency_key):
        raise UsageError("several files take neither standard input, --retry-of nor --idempotency-key: one job each")
    if dry_run and (quarantine or retry_of):
        raise UsageError("--dry-run stores nothing, so it takes neither --quarantine nor --retry-of")
    for file in given:
        if file != "-" and (not Path(file).exists() or Path(file).is_dir()):
            raise UsageError(f"{file} is not a file that is there; nothing was submitted")
    seconds = wait_of(wait, timeout)
    dialect = dialect_of(delimiter, decimal, thousands, encoding, null, quote)
    jobs = []
    for file, name in zip(given, formats, strict=True):
        if several:
            session.output.note(file)
        records: str | IO[bytes] = sys.stdin.buffer if file == "-" else file
        if file == "-" and sys.stdin.isatty():
            session.output.note("reading records from standard input; Ctrl-D ends them")
        if dry_run:
            given_format = name if file == "-" else format
            answer = session.client.validate(
                dataset, records, format=given_format, sheet=sheet, pipeline=True, **dialect
            )
            session.output.thing(answer)
            continue
        with session.output.progress("submit") as on_progress:
            job = session.client.submit(
                dataset,
                records,
                format=name if file == "-" else format,
                sheet=sheet,
                on_conflict=on_conflict,
                mode=mode,
                on_error="quarantine" if quarantine else None,
                retry_of=retry_of,
                **dialect,
                priority=priority,
                labels=labels,
                run_at=run_at,
                wait=False if several else seconds,
                on_progress=on_progress,
                idempotency_key=idempotency_key,
            )
        jobs.append(job)
        report(session, job)
    if several and seconds:
        _wait_for_all(session, jobs, None if seconds is True else seconds)


def _wait_for_all(session: Session, jobs: list[dict[str, Any]], timeout: float | None) -> None:
    """Wait until all jobs are done, print each, and then raise what the first one raised that did not succeed."""
    failure: UnfinishedJob | None = None
    began = time.monotonic()
    for job in jobs:
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        try:
            report(session, session.client.wait(job["id"], left))
        except UnfinishedJob as error:
            report(session, error.job)
            failure = failure or error
    if failure is not None:
        raise failure


def labels_of(pairs: list[str] | None) -> dict[str, str] | None:
    """Return labels as the command line gives them, None where it gives none. Raises UsageError."""
    return None if pairs is None else dict(label_of(pair) for pair in pairs)


def label_of(pair: str) -> tuple[str, str]:
    """Return name and value of a label as the command line gives it. Raises UsageError."""
    name, equals, value = pair.partition("=")
    if not equals:
        raise UsageError(f"--label {pair!r} is not NAME=VALUE")
    return name, value
