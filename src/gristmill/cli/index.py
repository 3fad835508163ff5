"""gristmill index: show, rebuild, hold, release."""

from typing import Annotated, Any

import typer

from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="The vector index of a dataset: its segments, and what is built.")

Name = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")]
_SEGMENT = ["index", "state", "first", "last", "rows", "dead_share", "bytes", "built_at"]


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show the segments, the tail, what is being built and what is due next."""
    _show(session, session.client.index(name))


@command(app, "rebuild")
def rebuild(session: Session, name: Name, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Build all indexes anew; searches go on with the old ones meanwhile."""
    with session.output.progress("rebuild") as shown:
        job = session.client.rebuild_index(name, wait=wait_of(wait, timeout), on_progress=shown)
    report(session, job)


@command(app, "hold")
def hold(session: Session, name: Name) -> None:
    """Hold builds back, so that a load has the whole machine; `release` lets them go on."""
    _show(session, session.client.hold_index(name))


@command(app, "release")
def release(session: Session, name: Name) -> None:
    """Let builds go on that were held back."""
    _show(session, session.client.hold_index(name, False))


def _show(session: Session, found: dict[str, Any]) -> None:
    if session.output.json:
        session.output.document(found)
        return
    session.output.thing({key: value for key, value in found.items() if key not in ("segments", "failures")})
    session.output.line("")
    session.output.rows(found["segments"], _SEGMENT, "there are no segments: searches compare every record")
    for failure in found["failures"]:
        session.output.note(f"job {failure['job']} ({failure['state']}): {failure['detail']}")
