"""gristmill images: the images of a dataset."""

from itertools import islice
from typing import Annotated, Any, Literal

import typer

from gristmill.cli.exits import UsageError, parse_json, parse_names
from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="The images of a dataset: exported as files.")

Format = Literal["jpeg", "png", "webp"]


@command(app, "export")
def export(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    field: Annotated[str | None, typer.Option(help="The image field; not needed where there is only one.")] = None,
    where: Annotated[str | None, typer.Option("--where", metavar="JSON", help="Condition, or @FILE with it.")] = None,
    step: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="JSON", help="An operation on each image; several in their order."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random operations.")] = 0,
    format: Annotated[Format | None, typer.Option("--format", "-f", help="Default: each image's own.")] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = None,
    fields: Annotated[str | None, typer.Option(metavar="NAMES", help="In metadata.csv. Default: all.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Default: as long as the server keeps them.")] = None,
    only_failed_of: Annotated[
        str | None, typer.Option(metavar="EXPORT", help="Only the records that failed in this one.")
    ] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
) -> None:
    """Have a file made of the image of each record. Get them with: gristmill exports download."""
    with session.output.progress("export") as show:
        job = session.client.export_images(
            dataset,
            field=field,
            where=None if where is None else parse_json(where, "--where"),
            steps=[_step(one) for one in step or ()],
            seed=seed,
            format=format,
            quality=quality,
            fields=parse_names(fields),
            keep_days=keep_days,
            only_failed_of=only_failed_of,
            wait=wait_of(wait, timeout),
            on_progress=show,
        )
    # What failed is no reject, which the line about jobs would name.
    counts = {**job["record_counts"], "rejected": 0}
    report(session, job if session.output.json else {**job, "record_counts": counts})
    if job["done"] and not session.output.json:
        result = job["result"]
        session.output.line(f"export {job['id']}: {result['images']} images, {result['bytes']} bytes as a zip")
        if result["failed"]:
            session.output.note(
                f"{result['failed']} records failed; see them with: gristmill images failures {job['id']}"
            )


@command(app, "failures")
def failures(
    session: Session,
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="Id of the export, which is that of its job.")],
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Default: 20; all with --json.")] = None,
) -> None:
    """List the records whose image could not be exported, and why."""
    most = limit or (None if session.output.json else 20)
    found = islice(session.client.export_failures(export), most)
    session.output.rows(found, ["key", "code", "reason"], "no record failed")


def _step(text: str) -> dict[str, Any]:
    found = parse_json(text, "--step")
    if not isinstance(found, dict):
        raise UsageError(f'--step takes an object such as {{"op": "image_grayscale"}}, not {text[:80]}')
    return found
