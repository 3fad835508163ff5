"""gristmill index: show, rebuild, tune, hold, release."""

from typing import Annotated, Any

import typer

from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="The vector index of a dataset: its segments, and what is built.")

Name = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")]
_SEGMENT = ["index", "state", "first", "last", "rows", "dead_share", "bytes", "storage", "built_at"]


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


@command(app, "tune")
def tune(session: Session, name: Name, timeout: Timeout = None) -> None:
    """Learn what searches find by their effort now, and show the curve of each index and what would help."""
    with session.output.progress("tune") as shown:
        job = session.client.tune_index(name, wait=wait_of(True, timeout), on_progress=shown)
    found = session.client.index(name)
    if session.output.json:
        session.output.document({"job": job, **{part: found[part] for part in ("recall", "efforts", "proposal")}})
        return
    for segment in found["segments"]:
        if segment["curve"] is not None:
            session.output.line(_about(segment))
            session.output.rows(_curve(segment["curve"]))
            session.output.line("")
    session.output.line("What a search for the 10 nearest does:")
    session.output.rows(found["efforts"], empty="there are no segments: searches compare every record")
    recall = found["recall"]
    if recall is not None and recall["value"] is not None:
        session.output.note(f"measured {recall['value']:.4f} at the target {recall['target']:g}")
    session.output.note(found["proposal"] or "nothing to propose")


def _about(segment: dict[str, Any]) -> str:
    curve = segment["curve"]
    source = "assumed" if curve["known_from"] == "assumed" else f"by {curve['queries']} {curve['known_from']}"
    given = curve.get("contribution")
    part = f", {given['share'][0]:.0%} of the {curve['k'][0]} nearest of all are in it" if given else ""
    return f"{segment['index']}, {segment['rows']} records{part}: recall, {source}"


def _curve(curve: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the curve as a table: a row for each ef, a column for each k."""
    return [
        {
            "ef": round(ef),
            **{f"of {k}": row[place] for k, row in zip(curve["k"], curve["recall"], strict=True)},
            **({"ms": curve["walk_ms"][place]} if curve["walk_ms"] else {}),
        }
        for place, ef in enumerate(curve["ef"])
    ]


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
    session.output.thing({key: value for key, value in found.items() if key not in ("segments", "efforts", "failures")})
    session.output.line("")
    session.output.rows(found["segments"], _SEGMENT, "there are no segments: searches compare every record")
    for failure in found["failures"]:
        session.output.note(f"job {failure['job']} ({failure['state']}): {failure['detail']}")
