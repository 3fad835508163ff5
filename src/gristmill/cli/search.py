"""gristmill search: by text, by vector, or like a record."""

from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command


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
        like=None if like is None else _key_value(session, dataset, like),
        vector=None if vector is None else parse_json(vector, "--vector"),
        k=k,
        where=None if where is None else parse_json(where, "--where"),
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
