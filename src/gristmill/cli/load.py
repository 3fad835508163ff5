"""gristmill load: a file becomes a dataset by one command."""

import json
import re
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session, command
from gristmill.client import Conflict, Refused, UnfinishedJob
from gristmill.client._bodies import ENCODINGS, WORKBOOK, format_of
from gristmill.client._transport import Json

_SHOWN = 3
_EXAMPLES = 3
_WORDS = 4
# How the file is read, as ``Client.submit`` takes it: format, sheet.
Given = dict[str, Any]


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "load")(load)


def load(
    session: Session,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="CSV, TSV, NDJSON, JSON, Parquet, Arrow stream or .xlsx; .gz and .zst too."
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Name of the dataset. Default: that of the file.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take what is proposed where the file leaves something open.")
    ] = False,
    answer: Annotated[
        list[str] | None,
        typer.Option("--answer", metavar="QUESTION=ANSWER", help="Answer a question; may be given several times."),
    ] = None,
    format: Annotated[str | None, typer.Option("--format", "-f", help="Default: by the file's suffix.")] = None,
    sheet: Annotated[
        str | None, typer.Option("--sheet", help="Of a workbook of Excel, where several have values.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the contract and create nothing.")] = False,
) -> None:
    """Infer a contract for a file, create the dataset, load the file and show its first records."""
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{file} is not a file that is there; nothing was created")
    kind = format_of(file, format)
    answers = dict(_answer_of(pair) for pair in answer or [])
    name = name or name_of(path)
    given = {"format": format, "sheet": sheet}
    found = session.client.infer(file, name=name, answers=answers, **given)
    _show(session, found)
    if dry_run:
        if session.output.json:
            session.output.document(found)
        _show_questions(session, found["questions"])
        return
    found = _settle(session, file, given, name, answers, found, yes)
    contract = found["contract"]
    try:
        session.client.create_dataset(contract, wait=True)
    except Conflict:
        session.output.note(f"choose another name with --name, or add to it: gristmill submit {name} {file}")
        raise
    session.output.note(f"created {name}")
    job = _submit(session, path, kind, given, found)
    _report(session, found, job)


def name_of(path: Path) -> str:
    """Return a name for the dataset of a file: what its own begins with, as names of datasets are."""
    stem = path.name.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()).strip("_")
    name = f"data_{name}" if name[:1].isdigit() else name
    return name[:40].rstrip("_") or "data"


def _answer_of(pair: str) -> tuple[str, Any]:
    about, equals, value = pair.rpartition("=") if pair.startswith("format:") else pair.partition("=")
    if not equals:
        raise UsageError(f"--answer {pair!r} is not QUESTION=ANSWER")
    return about, None if value in ("", "none") else value


def _settle(
    session: Session, file: str, given: Given, name: str, answers: dict[str, Any], found: Json, yes: bool
) -> Json:
    """Return the inference once its questions are answered and the contract is agreed to. Raises UsageError."""
    questions = found["questions"]
    if yes:
        for one in questions:
            session.output.note(f"{one['about']}: {one['question']} Taken: {_shown(one['proposed'])}")
        return found
    if not sys.stdin.isatty():
        if not questions:
            return found
        _show_questions(session, questions)
        abouts = " ".join(f"--answer {one['about']}=…" for one in questions)
        raise UsageError(
            f"{file} leaves {len(questions)} questions open, and nothing was created: "
            f"--yes takes what is proposed; or answer with {abouts}"
        )
    for one in questions:
        answers[one["about"]] = _ask(session, one)
    if questions:
        found = session.client.infer(file, name=name, answers=answers, **given)
        _show(session, found)
    if not typer.confirm(f"Create {name} and load the file?", default=True, err=True):
        raise UsageError("nothing was created")
    return found


def _ask(session: Session, question: Json) -> Any:
    session.output.note(question["question"])
    options = question["options"]
    for number, one in enumerate(options, 1):
        session.output.note(f"  {number}  {_shown(one['value'])}: {one['meaning']}")
    values = [one["value"] for one in options]
    default = values.index(question["proposed"]) + 1 if question["proposed"] in values else 1
    while True:
        given = typer.prompt(
            "Number" + (", or a zone" if question["about"] == "zone" else ""), default=str(default), err=True
        )
        if given.isdigit() and 1 <= int(given) <= len(options):
            return values[int(given) - 1]
        if question["about"] == "zone":
            return given
        session.output.note(f"{given} is not a number from 1 to {len(options)}")


def _show(session: Session, found: Json) -> None:
    """Show the contract with the evidence for each field."""
    if session.output.json:
        return
    contract, read = found["contract"], found["read"]
    what = "all" if read["complete"] else "the first"
    session.output.note(f"{found['format']}: {what} {read['records']} records looked at")
    session.output.rows(
        [
            {**one, "examples": ", ".join(one["examples"][:_EXAMPLES]), "required": "yes" if one["required"] else ""}
            for one in found["columns"]
        ],
        ["column", "field", "type", "required", "examples", "because"],
    )
    for member, given in (("csv", found["csv"]), *((one, contract.get(one)) for one in ("key", "time_field"))):
        if given:
            why = found["reasons"].get(member)
            session.output.line(f"{member}: {_shown(given)}" + (f" ({why})" if why else ""))
    if "embedding" in contract:
        session.output.line(f"searched by meaning: {', '.join(contract['embedding']['from'])}")
    for step in contract.get("pipeline", []):
        session.output.line(f"step: {json.dumps(step, ensure_ascii=False)}")
    for note in found["notes"]:
        session.output.note(f"note: {note}")


def _show_questions(session: Session, questions: list[Json]) -> None:
    if session.output.json:
        return
    for one in questions:
        options = ", ".join(_shown(option["value"]) for option in one["options"])
        session.output.note(f"{one['about']}: {one['question']} ({options}; proposed: {_shown(one['proposed'])})")


def _submit(session: Session, path: Path, kind: str, given: Given, found: Json) -> Json:
    name, csv = found["contract"]["name"], found["csv"]
    try:
        if path.suffix.lower() in ENCODINGS or kind == WORKBOOK:
            job = session.client.submit(name, path, **given, **csv)
        else:
            with path.open("rb") as file, session.output.sending(file, path.stat().st_size) as sent:
                job = session.client.submit(name, sent, format=kind, **csv)
    except Refused:
        # Nothing of the file is stored: it can be mended and loaded under the same name.
        session.client.drop_dataset(name)
        session.output.note(f"nothing was loaded, and {name} is dropped again")
        raise
    try:
        with session.output.progress("load") as on_progress:
            return session.client.wait(job["id"], on_progress=on_progress)
    except UnfinishedJob:
        session.output.note(f"the dataset {name} is there; gristmill datasets drop {name} takes it away again")
        raise


def _report(session: Session, found: Json, job: Json) -> None:
    contract, counts = found["contract"], job["record_counts"]
    name = contract["name"]
    if session.output.json:
        session.output.document({"dataset": name, "contract": contract, "questions": found["questions"], "job": job})
        return
    session.output.note(f"{counts['succeeded']} of {counts['total']} records loaded")
    if counts.get("superseded"):
        note = (
            f"{counts['superseded']} records have the key of a later one, which stands: is {contract['key']} the key?"
        )
        session.output.note(note)
    session.output.rows(islice(session.client.records(name, page_size=_SHOWN), _SHOWN))
    session.output.line(f"next: {_next(contract, found['columns'])}")


def _next(contract: Json, columns: list[Json]) -> str:
    name = contract["name"]
    if "embedding" in contract:
        source = contract["embedding"]["from"][0]
        examples: list[str] = next((one["examples"] for one in columns if one["field"] == source), [])
        # Some words of a record: they show what a search by meaning finds.
        words = re.findall(r"\w+", examples[0])[:_WORDS] if examples else ["what", "you", "look", "for"]
        return f'gristmill search {name} "{" ".join(words)}"'
    filters = {one["name"] for one in contract["fields"] if one.get("filterable") and one["type"] == "text"}
    for one in columns:
        if one["field"] in filters and one["examples"]:
            where = json.dumps({one["field"]: one["examples"][0]}, ensure_ascii=False)
            return f"gristmill records list {name} --where '{where}'"
    return f"gristmill records list {name}"


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
