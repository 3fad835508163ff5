"""gristmill records: get, image, list, count, distinct, latest, patch, delete."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from gristmill.cli.exits import UsageError, parse_json, parse_names
from gristmill.cli.session import Session, command, key_of
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="Read, change and delete records.")

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")]
KeyText = Annotated[str, typer.Argument(metavar="KEY", help="A key of several fields is a JSON array.")]
Where = Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")]


Expand = Annotated[str | None, typer.Option(help="Nest what is below or above: children, parent, or both.")]
Depth = Annotated[int | None, typer.Option(min=1, max=5, help="How many levels are nested. Default: 1.")]


@command(app, "get")
def get(session: Session, dataset: Dataset, key: KeyText, expand: Expand = None, depth: Depth = None) -> None:
    """Show one record."""
    session.output.thing(session.client.record(dataset, key_of(key), expand=parse_names(expand), depth=depth))


@command(app, "image")
def image(
    session: Session,
    dataset: Dataset,
    key: KeyText,
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE")],
    field: Annotated[str | None, typer.Option(help="The image field. Default: the only one.")] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=2048, help="A thumbnail that fits into so many pixels.")
    ] = None,
) -> None:
    """Write the image of one record to FILE: as it is, or with --size a thumbnail."""
    data = session.client.image(dataset, key_of(key), field, size)
    Path(out).write_bytes(data)
    session.output.thing({"file": out, "bytes": len(data)})


@command(app, "list")
def list_records(
    session: Session,
    dataset: Dataset,
    where: Where = None,
    start: Annotated[str | None, typer.Option(help="Start of the time window, included.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the time window, included.")] = None,
    order: Annotated[str | None, typer.Option(help="Fields, as in: -at,station")] = None,
    fields: Annotated[str | None, typer.Option(help="Show these alone, as in: at,station")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Default: 20; all with --json.")] = None,
    expand: Expand = None,
    depth: Depth = None,
) -> None:
    """List records by condition, time window and order."""
    most = limit or (None if session.output.json else 20)
    found = session.client.records(
        dataset,
        where=None if where is None else parse_json(where, "--where"),
        start=start,
        end=end,
        order=order,
        page_size=None if most is None else min(most, 1000),
        fields=parse_names(fields),
        expand=parse_names(expand),
        depth=depth,
    )
    session.output.rows(islice(found, most), empty="no record matches")


@command(app, "count")
def count(session: Session, dataset: Dataset, where: Where = None) -> None:
    """Count the records, or those that match --where."""
    condition = None if where is None else parse_json(where, "--where")
    session.output.thing({"count": session.client.count(dataset, where=condition)})


@command(app, "distinct")
def distinct(
    session: Session,
    dataset: Dataset,
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field, or a member of a json field: meta.kind")],
    where: Where = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Default: 20; all with --json.")] = None,
) -> None:
    """List the values of a field with how many records have each, the most frequent first."""
    most = limit or (None if session.output.json else 20)
    condition = None if where is None else parse_json(where, "--where")
    found = session.client.distinct(dataset, field, where=condition)
    session.output.rows(islice(found, most), empty="no record matches")


@command(app, "latest")
def latest(
    session: Session, dataset: Dataset, n: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 10
) -> None:
    """List the newest records: by the time field, or without one in the order of submission."""
    session.output.rows(session.client.latest(dataset, n), empty="there are no records")


@command(app, "patch")
def patch(
    session: Session,
    dataset: Dataset,
    key: KeyText,
    changes: Annotated[str, typer.Argument(metavar="JSON", help='As in {"note": "mended"}, or @FILE.')],
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Change fields of one record."""
    with session.output.progress("patch") as show:
        parsed = parse_json(changes, "the change")
        job = session.client.patch(dataset, key_of(key), parsed, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


@command(app, "delete")
def delete(
    session: Session,
    dataset: Dataset,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="A key of several fields is a JSON array.")] = None,
    where: Where = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Delete one record by its key, or all that match --where."""
    if (key is None) == (where is None):
        raise UsageError("give the KEY of one record, or --where for all that match")
    with session.output.progress("delete") as show:
        waiting = wait_of(wait, timeout)
        if key is not None:
            job = session.client.delete(dataset, key_of(key), wait=waiting, on_progress=show)
        else:
            condition = parse_json(where or "", "--where")
            job = session.client.delete_where(dataset, condition, wait=waiting, on_progress=show)
    report(session, job)
