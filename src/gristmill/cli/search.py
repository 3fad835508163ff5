"""gristmill search: by text, by vector, by an image, like a record, or by words."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command


class Mode(StrEnum):
    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "search")(search)


def search(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What to look for, by meaning.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="Condition, or @FILE with it.")] = None,
    like: Annotated[str | None, typer.Option(metavar="KEY", help="Closest to this record instead.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="JSON", help="Closest to this vector instead, or @FILE.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Closest to this image instead."),
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="By meaning, by words, or by both. The default is what the dataset is made for.")
    ] = None,
    max_distance: Annotated[float | None, typer.Option(help="Only hits up to this distance.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Only hits from this score on.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every record.")] = False,
    ef: Annotated[int | None, typer.Option(min=1, max=1000, help="Effort: more finds better and takes longer.")] = None,
    recall_target: Annotated[
        float | None, typer.Option(min=0.9, max=0.999, help="Part of the true nearest to find; the effort is chosen.")
    ] = None,
) -> None:
    """Find the records closest to a text, a vector, an image or another record, or those that match words."""
    given = sum(one is not None for one in (text, like, vector, image))
    if given != 1 and not (mode is Mode.HYBRID and text is not None and given == 2):
        raise UsageError(
            "give one of TEXT, --like, --vector and --image (with --mode hybrid, TEXT and one of the others)"
        )
    answer = session.client.search(
        dataset,
        text=text,
        like=None if like is None else _key_value(session, dataset, like),
        vector=None if vector is None else parse_json(vector, "--vector"),
        image=image,
        k=k,
        where=None if where is None else parse_json(where, "--where"),
        mode=None if mode is None else mode.value,
        max_distance=max_distance,
        min_score=min_score,
        exact=exact or None,
        ef=ef,
        recall_target=recall_target,
    )
    if session.output.json:
        session.output.document(answer)
        return
    hits = answer["hits"]
    session.output.rows(({"score": round(hit["score"], 4), **hit["record"]} for hit in hits), empty="no record matches")
    shortfall = "" if answer["complete"] else f"; not complete: {answer['incomplete_because']}"
    session.output.note(f"{len(hits)} hits in {answer['took_ms']:.1f} ms, plan: {answer['plan']}{shortfall}")


def _key_value(session: Session, dataset: str, text: str) -> Any:
    """Return a key as JSON has it: the contract tells whether 7 is a number or a text."""
    contract = session.client.dataset(dataset)["contract"]
    types = {field["name"]: field["type"] for field in contract["fields"]}
    key = contract.get("key", [])
    if len(key) == 1 and types[key[0]] not in ("integer", "boolean"):
        return text
    return parse_json(text, "--like")
