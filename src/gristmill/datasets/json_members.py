"""Members of json fields as filters name them: their paths, their SQL, and the same in memory.

A path is a row of names with dots between them, such as ``address.city``; a dot inside a name is written ``\\.`` and a
backslash ``\\\\``. In a list a name that is an integer is a position, from 0; a negative one counts from the end.

A member has one of the types that can be compared: text, number, boolean. Seen as one type it has a value where the
record holds such a value, and is null where it holds another or nothing. So an index on it takes every record.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

MemberType = Literal["text", "number", "boolean"]
# Characters of a text that an index holds: an entry of a B-tree must fit a third of a page.
INDEXED_CHARACTERS = 255
MAX_PATH = 32
_JSON_NAMES: dict[MemberType, str] = {"text": "string", "number": "number", "boolean": "boolean"}
_PARTS = re.compile(r"(?:[^.\\]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_POSITION = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")

Expression = sa.ColumnElement[Any]


def split_path(text: str) -> tuple[str, ...]:
    """Return the names in ``text``, unescaped. Raises ValueError with what is wrong."""
    names = tuple(_split(text))
    if len(names) > MAX_PATH:
        raise ValueError(f"it has more than {MAX_PATH} names")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error
    if "\0" in text:
        raise ValueError("it holds a NUL character, which no name of a member has")
    return names


def _split(text: str) -> Iterator[str]:
    place = 0
    while True:
        found = _PARTS.match(text, place)
        assert found is not None, "the pattern matches the empty text"
        yield _ESCAPED.sub(r"\1", found[0])
        place = found.end()
        if place == len(text):
            return
        if text[place] == "\\":
            raise ValueError("a backslash stands before the character that it escapes: write \\\\ for one")
        place += 1


def type_of(value: Any) -> MemberType | None:
    """Return the type of a member that has ``value``, None for lists, objects and null."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float | Decimal) else None


def member(column: Expression, path: Sequence[str]) -> Expression:
    """Return the SQL of what stands at ``path`` as jsonb."""
    return column.op("#>", return_type=column.type)(_path(path)) if path else column


def member_text(column: Expression, path: Sequence[str]) -> Expression:
    """Return the SQL of what stands at ``path`` as text; SQL's null where there is nothing, or JSON's null."""
    return column.op("#>>", return_type=sa.Text())(_path(path))


def typed_member(column: Expression, path: Sequence[str], type_: MemberType) -> Expression:
    """Return the SQL of the member seen as ``type_``: null where the record holds something else."""
    text = member_text(column, path)
    value: Expression = sa.collate(text, "C")
    if type_ != "text":
        value = sa.cast(text, sa.Numeric() if type_ == "number" else sa.Boolean())
    return sa.case((sa.func.jsonb_typeof(member(column, path)) == sa.literal(_JSON_NAMES[type_]), value))


def indexed_member(column: Expression, path: Sequence[str], type_: MemberType) -> Expression:
    """Return the SQL of what an index holds of a member: of a text its beginning."""
    typed = typed_member(column, path, type_)
    return beginning(typed) if type_ == "text" else typed


def beginning(text: Expression) -> Expression:
    """Return the SQL of what an index holds of ``text``."""
    return sa.func.left(text, sa.literal(INDEXED_CHARACTERS, sa.Integer()), type_=sa.Text(collation="C"))


def find_member(value: Any, path: Sequence[str]) -> Any:
    """Return what stands at ``path`` in a JSON value, None where there is nothing."""
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and _POSITION.fullmatch(name):
            place = int(name)
            value = value[place] if -len(value) <= place < len(value) else None
        else:
            return None
    return value


def _path(path: Sequence[str]) -> Expression:
    return sa.cast(sa.literal(list(path), ARRAY(sa.Text())), ARRAY(sa.Text()))
