"""gristmill search: by text, by vector, or like a record."""

from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command, key_of


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "search")(search)


def search(
    session: Session,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the dataset.")],
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What to look for, by meaning.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="Condition, or @FILE with it.")] = None,
    like: Annotated[str | None, typer.Option(metavar="KEY", help="Closest to this record instead.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="JSON", help="Closest to this vector instead, or @FILE.")
    ] = None,
) -> None:
    """Find the records closest to a text, a vector or another record."""
    if sum(given is not None for given in (text, like, vector)) != 1:
        raise UsageError("give one of TEXT, --like and --vector")
    answer = session.client.search(
        dataset,
        text=text,
        like=None if like is None else key_of(like),
        vector=None if vector is None else parse_json(vector, "--vector"),
        k=k,
        where=None if where is None else parse_json(where, "--where"),
    )
    if session.output.json:
        session.output.document(answer)
        return
    session.output.rows(answer["hits"], empty="no record matches")
    session.output.note(f"{len(answer['hits'])} hits in {answer.get('took_ms', 0):g} ms{_shortfall(answer)}")


def _shortfall(answer: dict[str, Any]) -> str:
    return "" if answer.get("complete", True) else f"; not complete: {answer.get('plan')}"
