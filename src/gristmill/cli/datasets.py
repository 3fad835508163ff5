"""gristmill datasets: list, show, create, alter, truncate, rename, copy, duplicates, drop."""

import json
import sys
from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command, read_text
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="Create, change and drop datasets.")

Name = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="A name that no dataset has.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Document = Annotated[str, typer.Argument(metavar="FILE", help="JSON file, or - for standard input.")]


@command(app, "list")
def list_datasets(session: Session) -> None:
    """List the datasets."""
    session.output.rows(
        session.client.datasets(), ["name", "state", "version", "rows", "sizes.total_bytes"], "there are no datasets"
    )


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show a dataset: contract, state, rows, sizes, index."""
    dataset = session.client.dataset(name)
    if session.output.json:
        session.output.document(dataset)
        return
    contract = dataset.get("contract", {})
    session.output.thing({key: value for key, value in dataset.items() if key != "contract"})
    session.output.thing({key: value for key, value in contract.items() if key not in ("name", "fields")})
    session.output.line("")
    fields = [{**field, "required": field.get("required", False)} for field in contract.get("fields", [])]
    limits = [
        name
        for name in _LIMITS
        if any(field.get(name) is not None and field.get(name) is not False for field in fields)
    ]
    session.output.rows(fields, ["name", "type", "required", *limits])


@command(app, "create")
def create(
    session: Session,
    file: Document,
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="A dataset that has this contract will do.")
    ] = False,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Create a dataset from its contract. Records may be submitted at once."""
    contract = _document(file)
    with session.output.progress("create") as show:
        job = session.client.create_dataset(
            contract, if_not_exists=if_not_exists, wait=wait_of(wait, timeout), on_progress=show
        )
    report(session, job)


@command(app, "alter")
def alter(session: Session, name: Name, file: Document, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Add fields or widen limits: {"add_fields": […], "alter_fields": […]}."""
    change = _document(file)
    with session.output.progress("alter") as show:
        job = session.client.alter_dataset(name, change, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


@command(app, "truncate")
def truncate(session: Session, name: Name, yes: Yes = False, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Delete all records of a dataset at once."""
    if not yes:
        _confirm(f"truncating {name}", f"Delete all records of {name}?", "nothing was deleted")
    with session.output.progress("truncate") as show:
        job = session.client.truncate_dataset(name, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


@command(app, "fit")
def fit(
    session: Session,
    name: Name,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Which records, or @FILE.")] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Fit the steps that need statistics, such as normalise, to the records that are there."""
    with session.output.progress("fit") as show:
        condition = None if where is None else parse_json(where, "--where")
        job = session.client.fit_dataset(name, where=condition, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


@command(app, "recompute")
def recompute(
    session: Session,
    name: Name,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Which records, or @FILE.")] = None,
    fields: Annotated[str | None, typer.Option(help="These computed fields alone, as in: total,month")] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Make computed fields anew of what is stored, as after a change of the pipeline."""
    with session.output.progress("recompute") as show:
        job = session.client.recompute_dataset(
            name,
            where=None if where is None else parse_json(where, "--where"),
            fields=None if fields is None else [one.strip() for one in fields.split(",")],
            wait=wait_of(wait, timeout),
            on_progress=show,
        )
    report(session, job)


@command(app, "rename")
def rename(session: Session, name: Name, new_name: NewName, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Give a dataset and its table another name."""
    with session.output.progress("rename") as show:
        job = session.client.rename_dataset(name, new_name, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


@command(app, "copy")
def copy(
    session: Session,
    name: Name,
    new_name: NewName,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="A filter, or @FILE.")] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Copy a dataset, or some of its records, to a new one."""
    condition = None if where is None else parse_json(where, "--where")
    with session.output.progress("copy") as show:
        job = session.client.copy_dataset(
            name, new_name, where=condition, wait=wait_of(wait, timeout), on_progress=show
        )
    report(session, job)


@command(app, "duplicates")
def duplicates(
    session: Session,
    name: Name,
    into: Annotated[str, typer.Argument(metavar="INTO", help="Name of the dataset that is made of them.")],
    threshold: Annotated[float, typer.Option(help="How far vectors may be apart, in the metric of the dataset.")],
    where: Annotated[str | None, typer.Option(metavar="JSON", help="A filter, or @FILE.")] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Find records whose vectors are near each other, as a new dataset."""
    condition = None if where is None else parse_json(where, "--where")
    with session.output.progress("duplicates") as show:
        job = session.client.find_duplicates(
            name, threshold, into, where=condition, wait=wait_of(wait, timeout), on_progress=show
        )
    report(session, job)


@command(app, "drop")
def drop(
    session: Session,
    name: Name,
    yes: Yes = False,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Drop a dataset with all its records."""
    if not yes:
        _confirm(f"dropping {name}", f"Drop {name} with all its records?", "nothing was dropped")
    with session.output.progress("drop") as show:
        job = session.client.drop_dataset(name, wait=wait_of(wait, timeout), on_progress=show)
    report(session, job)


_LIMITS = (
    "max_length", "normalize", "minimum", "maximum", "precision", "scale", "zone", "dimensions", "max_bytes",
    "filterable", "enum", "default", "unit", "title", "description",
)  # fmt: skip


def _confirm(what: str, question: str, otherwise: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{what} deletes its records: give --yes to do it without being asked")
    if not typer.confirm(question, err=True):
        raise UsageError(otherwise)


def _document(file: str) -> Any:
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise UsageError(f"{'standard input' if file == '-' else file} is not JSON in UTF-8: {error}") from error
