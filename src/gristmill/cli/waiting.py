"""The options of commands that wait for a job, and how its end is told."""

from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session

WaitOption = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until the job is done; exit with 1 if it does not succeed.")
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="With --wait: seconds to wait at most; then exit with 5.")
]


def wait_of(wait: bool, timeout: float | None) -> bool | float:
    """Return the client's ``wait`` for the two options."""
    if timeout is None:
        return wait
    if not wait:
        raise UsageError("--timeout says how long --wait waits: give both")
    return timeout


def report(session: Session, job: dict[str, Any]) -> None:
    """Print a job: as JSON, or in a line that says what happened or how to follow it."""
    if session.output.json:
        session.output.document(job)
    elif job["done"]:
        session.output.line(f"job {job['id']} {job['state']}{_counts(job)}")
    else:
        session.output.line(f"job {job['id']} {job['state']}; follow it with: gristmill jobs wait {job['id']}")
    rejected = job["record_counts"].get("rejected")
    if rejected:
        session.output.note(f"{rejected} records did not fit; see them with: gristmill rejects {job['id']}")


def _counts(job: dict[str, Any]) -> str:
    counts = job["record_counts"]
    if not counts["total"]:
        return ""
    others = [f"{counts[name]} {name}" for name in ("rejected", "superseded", "dropped") if counts.get(name)]
    return ": " + ", ".join([f"{counts['succeeded']} of {counts['total']} records", *others])
