"""Random tables as strangers write them: what each cell means, and the text that stands for it."""

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

# A value, and what a file has for it; the value None stands for null.
Cell = tuple[Any, str | None]
WORDS = ("", "n/a", "NA", "-")
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_moments = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9998, 12, 31))


@dataclass(frozen=True)
class Table:
    headers: list[str]
    rows: list[list[Cell]]

    def to_csv(self, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
        lines = [delimiter.join(_quoted(name, delimiter) for name in self.headers)]
        lines += [
            delimiter.join("" if text is None else _quoted(text, delimiter) for _, text in row) for row in self.rows
        ]
        return ("\r\n".join(lines) + "\r\n").encode(encoding)

    def to_ndjson(self) -> bytes:
        records = (dict(zip(self.headers, (text for _, text in row), strict=True)) for row in self.rows)
        return "".join(json.dumps(record) + "\n" for record in records).encode()


def _quoted(text: str, delimiter: str) -> str:
    plain = text and not set(text) & {delimiter, '"', "\r", "\n"}
    return text if plain else '"' + text.replace('"', '""') + '"'


def _german(number: Decimal) -> str:
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


def _written(values: st.SearchStrategy[Any], write: Any) -> st.SearchStrategy[Cell]:
    return values.map(lambda value: (value, write(value)))


_amounts = st.decimals(Decimal("-1e9"), Decimal("1e9"), places=2, allow_nan=False)
_KINDS: dict[str, st.SearchStrategy[Cell]] = {
    "integers": _written(st.integers(-(2**63), 2**63 - 1), str),
    "codes": _written(st.integers(0, 999).map(lambda number: f"{number:05}"), str),
    "floats": _written(st.floats(allow_nan=False, allow_infinity=False), repr),
    "amounts": _written(_amounts, str),
    "german": _written(_amounts, _german),
    "long": _written(st.integers(10**20, 10**30).map(lambda n: Decimal(n) / 10**6), lambda n: format(n, "f")),
    "dates": _written(_moments.map(dt.datetime.date), str),
    "day_first": _written(_moments.map(dt.datetime.date), lambda day: f"{day.day:02}.{day.month:02}.{day.year}"),
    "slashes": _written(_moments.map(dt.datetime.date), lambda day: f"{day.day:02}/{day.month:02}/{day.year}"),
    "naive": _written(_moments.map(lambda at: at.replace(tzinfo=dt.UTC)), lambda at: at.isoformat()[:-6]),
    "times": _written(_moments.map(lambda at: at.replace(tzinfo=dt.UTC)), lambda at: at.isoformat()),
    "clocks": _written(
        _moments.map(lambda at: at.replace(second=0, microsecond=0, tzinfo=dt.UTC)),
        lambda at: f"{at.day} {at:%b} {at.year} {at:%H:%M}",
    ),
    "booleans": _written(st.booleans(), lambda truth: "true" if truth else "false"),
    "answers": _written(st.booleans(), lambda truth: "Yes" if truth else "No"),
    "uuids": _written(st.uuids(), str),
    "texts": _written(_texts, str),
    "sentences": _written(
        st.lists(st.sampled_from(["the", "red", "fox", "runs", "over", "hills"]), min_size=8).map(" ".join), str
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table of 2 to 6 columns, each of one kind with nulls of one spelling among its values."""
    headers = draw(st.lists(_texts.filter(lambda one: one == one.strip()), min_size=2, max_size=6, unique=True))
    height = draw(st.integers(1, 12))
    columns: list[list[Cell]] = []
    for _ in headers:
        cells = _KINDS[draw(st.sampled_from(sorted(_KINDS)))]
        null = (None, draw(st.sampled_from([None, *WORDS])))
        cells = st.one_of(cells, cells, st.just(null)) if draw(st.booleans()) else cells
        columns.append(draw(st.lists(cells, min_size=height, max_size=height)))
    return Table(headers, [list(row) for row in zip(*columns, strict=True)])


def agrees(kind: str, value: Any, text: str | None, read: Any) -> bool:
    """Say whether ``read``, of a field of type ``kind``, is what a cell means: its value, or its text as it is."""
    if text is None:
        return read is None
    if kind == "text":
        return bool(read == text)
    if kind == "json":
        return bool(read == json.loads(text) or read == text)
    if read is None:
        return value is None or text.lower() in ("", "n/a", "na", "-")
    if value is None:
        # It is read as a value, which another row has.
        return False
    if kind in ("integer", "float"):
        return bool(read == (float(value) if kind == "float" else int(value)))
    if kind == "decimal":
        return Decimal(read) == Decimal(str(value))
    if kind == "boolean":
        return read is value or read is (text.lower() == "true")
    if kind == "date":
        return bool(read == str(value))
    if kind == "timestamp":
        return dt.datetime.fromisoformat(read) == value
    return bool(read == str(value))
