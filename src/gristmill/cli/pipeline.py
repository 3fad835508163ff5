"""gristmill pipeline: preview, steps."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer

from gristmill.cli.dialect import DecimalSign, Delimiter, Encoding, Null, Quote, Thousands, dialect_of, sign_of
from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command
from gristmill.client._bodies import format_of
from gristmill.client._tabs import read_as_csv

_LONGEST_CELL = 12 * 1024 * 1024

app = typer.Typer(no_args_is_help=True, help="The pipeline of a dataset: what its steps make of records.")


@command(app, "preview")
def preview(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Records: CSV, TSV, NDJSON or JSON; .gz too.")],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", metavar="NAME", help="Whose pipeline.")] = None,
    contract: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="A contract to try, or @FILE: of a new dataset, or members of --dataset's."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="Records of the file.")] = 10,
    delimiter: Delimiter = None,
    decimal: DecimalSign = None,
    thousands: Thousands = None,
    encoding: Encoding = None,
    null: Null = None,
    quote: Quote = None,
) -> None:
    """Show the first records of a file after each step of a pipeline; nothing is stored."""
    tried = None if contract is None else parse_json(contract, "--contract")
    name = dataset or (tried.get("name") if isinstance(tried, dict) else None)
    if not isinstance(name, str):
        raise UsageError("say whose pipeline: --dataset NAME, or --contract @FILE with a name in it")
    sample = read_sample(file, limit, dialect_of(delimiter, decimal, thousands, encoding, null, quote))
    answer = session.client.preview_pipeline(name, contract=tried, limit=limit, **sample)
    if session.output.json:
        session.output.document(answer)
        return
    frames = [("sent", answer["input"])]
    frames += [(f"after step {step['step']} ({step['op']})", step) for step in answer["steps"]]
    for title, frame in [*frames, ("written", answer["output"])]:
        session.output.note(title)
        rows = ({"record": one["record"], **one["row"]} for one in frame["rows"])
        session.output.rows(rows, columns=["record", *(column["name"] for column in frame["columns"])], empty="no row")
    if answer["dropped"]:
        session.output.note(f"dropped: {', '.join(map(str, answer['dropped']))}")
    for reject in answer["rejects"]:
        reasons = "; ".join(error["reason"] for error in reject["errors"])
        session.output.note(f"record {reject['record']} does not fit: {reasons}")


@command(app, "steps")
def steps(
    session: Session,
    op: Annotated[str | None, typer.Argument(metavar="[STEP]", help="The parameters of this one.")] = None,
) -> None:
    """List the steps that pipelines may have, or the parameters of one."""
    found = {one["op"]: one for one in session.client.transforms()}
    if op is None:
        session.output.rows(found.values(), ["op", "description"])
        return
    if op not in found:
        raise UsageError(f"there is no step {op}; they are: {', '.join(found)}")
    if session.output.json:
        session.output.document(found[op])
        return
    schema = found[op]["parameters"]
    session.output.note(found[op]["description"])
    shown = [
        {"parameter": name, "required": name in schema["required"], "default": one.get("default"), **one}
        for name, one in schema["properties"].items()
        if name != "op"
    ]
    session.output.rows(shown, ["parameter", "required", "default", "description"])
    for example in found[op]["examples"]:
        session.output.note(json.dumps(example["step"], ensure_ascii=False))


def read_sample(path: str, limit: int, dialect: Mapping[str, str]) -> dict[str, Any]:
    """Return the first records of a file as arguments of ``Client.preview_pipeline``. Raises UsageError.

    dialect: what it is written in if it is CSV.
    """
    kind = format_of(path, None)
    if dialect and kind != "csv":
        raise UsageError(f"{path} is not CSV, so it takes no --{next(iter(dialect))}")
    if kind not in ("csv", "ndjson", "json") or path.lower().endswith(".zst"):
        raise UsageError(f"{path}: a preview takes CSV, TSV, NDJSON and JSON, and of compressed files those of gzip")
    if not Path(path).is_file():
        raise UsageError(f"{path} is not a file that is there")
    try:
        with gzip.open(path, "rb") if path.lower().endswith(".gz") else open(path, "rb") as raw:
            tabs = path.lower().removesuffix(".gz").endswith(".tsv")
            return _read(cast(IO[bytes], raw), kind, limit, tabs, dict(dialect))
    except (OSError, EOFError, LookupError, ValueError, RecursionError, zlib.error, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _read(raw: IO[bytes], kind: str, limit: int, tabs: bool, dialect: dict[str, str]) -> dict[str, Any]:
    if kind == "json":
        body = json.loads(raw.read().decode("utf-8-sig"))
        records = body.get("records") if isinstance(body, dict) else body
        if not isinstance(records, list):
            raise ValueError("it holds neither an array of records nor an object with one as `records`")
        return {"records": records[:limit]}
    encoding = dialect.pop("encoding", "utf-8")
    if tabs and encoding == "utf-8" and not dialect.keys() & {"delimiter", "quote"}:
        raw = io.BytesIO(b"".join(islice(read_as_csv(raw), limit + 1)))
    elif tabs:
        dialect.setdefault("delimiter", "tab")
    lines = io.TextIOWrapper(raw, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
    if kind == "ndjson":
        return {"data": "".join(islice(filter(str.strip, lines), limit)), "format": "ndjson"}
    signs: dict[str, str] = {name: sign_of(name, dialect[name]) for name in ("delimiter", "quote") if name in dialect}
    return {"data": _first_rows(lines, limit + 1, signs), "format": "csv", **dialect}


def _first_rows(file: IO[str], rows: int, signs: Mapping[str, str]) -> str:
    """Return the text of the first rows of a CSV file as it stands: a row may have several lines.

    signs: its delimiter and quote, where they are not those of every CSV.
    """
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            taken.append(line)
            yield line

    # Cells may be as long as the server takes them.
    csv.field_size_limit(_LONGEST_CELL)
    # Lines without anything are no rows.
    reader = csv.reader(lines(), delimiter=signs.get("delimiter", ","), quotechar=signs.get("quote", '"'))
    for _ in islice(filter(None, reader), rows):
        pass
    return "".join(taken)
