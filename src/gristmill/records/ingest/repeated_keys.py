"""Two records of one request with one key, which ``on_conflict=fail`` refuses: found whatever the chunks and sizes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from gristmill.core.errors import MAX_LISTED, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import show_key
from gristmill.jobs.submit import NewChunk
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.apply.upsert import Key, keys_of, repeats, split_places
from gristmill.records.ingest.repository import repeated
from gristmill.records.payload import decode
from gristmill.records.validation.rows import Problems

Lines = Callable[[set[int]], dict[int, int]]
Repeats = list[tuple[int, int]]


def refuse_repeated(contract: Contract, chunk: NewChunk, lines: Lines) -> None:
    """Raise Invalid naming the records of a request's only chunk whose key an earlier one has.

    lines: returns the lines of some records in the body, where it has lines.
    """
    found = [(record, first) for record, first, _ in repeats(_keys(contract, chunk))]
    _refuse(contract, [chunk], found[:MAX_LISTED], len(found), lines)


def refuse_repeated_over(connection: Connection, contract: Contract, chunks: Iterable[NewChunk], lines: Lines) -> None:
    """Do what ``refuse_repeated`` does for a request of several chunks, in constant memory.

    chunks: read once, and again to show the keys that are refused.
    """
    keys = ((_digest(key), record) for chunk in chunks for record, key in _keys(contract, chunk))
    _refuse(contract, chunks, *repeated(connection, keys), lines)


def _keys(contract: Contract, chunk: NewChunk) -> Iterator[tuple[int, Key]]:
    table, places = split_places(decode(chunk.payload or b""), chunk.first_record)
    yield from zip(places.to_pylist(), keys_of(contract, table), strict=True)


def _digest(key: Key) -> bytes:
    return hashlib.blake2b(repr([_canonical(value) for value in key]).encode("utf-8"), digest_size=16).digest()


def _canonical(value: Any) -> Any:
    """Return what is equal in its text form where Postgres takes the values for equal: 1.0 and 1.00, 0 and -0."""
    if isinstance(value, Decimal):
        sign, digits, _ = value.as_tuple()
        text = "".join(map(str, digits)).strip("0")
        return (sign, text, value.adjusted()) if text else 0
    return value


def _refuse(contract: Contract, chunks: Iterable[NewChunk], found: Repeats, total: int, lines: Lines) -> None:
    if not found:
        return
    wanted = {record for record, _ in found}
    keys = {record: key for chunk in chunks for record, key in _keys(contract, chunk) if record in wanted}
    at = lines(wanted | {first for _, first in found})
    field = contract.key[0] if len(contract.key) == 1 else None
    problems = Problems()
    for record, first in found:
        shown = show_key(contract, keys[record])
        where = f"record {first}" + (f" (line {at[first]})" if first in at else "")
        reason = f"The key {shown!r} is that of {where} too: with on_conflict=fail a request has each key once"
        pointer = f"/{record}" if field is None else f"/{record}/{escape_pointer(field)}"
        problems.add(Violation(pointer, "repeated_key", reason, record, at.get(record), field))
    problems.total = total
    problems.raise_if_any()
