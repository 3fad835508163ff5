"""Records as JSON texts, validated in lists: as a whole while all are valid, else one by one to name what is wrong."""

from collections.abc import Iterator, Sequence

from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.records.columns import Row
from gristmill.records.readers.context import ReadContext, RecordBlock, count_from, refuse
from gristmill.records.readers.rows import Rows
from gristmill.records.validation.depth import json_depth
from gristmill.records.validation.rows import MAX_DEPTH


def validate_texts(
    source: ReadContext, texts: Sequence[bytes], prefix: str, first_record: int, lines: Sequence[int] | None
) -> Iterator[RecordBlock]:
    """Yield the valid records among ``texts``; refuse the others.

    prefix: JSON pointer of the list of records. lines: where each text stands in the body, from 1; None for an array,
    in which nothing that follows a broken element counts.
    """
    rows = _validate_all(source, texts)
    if rows is not None:
        if rows and not source.problems.total:
            yield RecordBlock(source.validator.to_table(rows), count_from(first_record, len(rows)))
        return
    kept = Rows(source)
    for index, raw in enumerate(texts):
        record = first_record + index
        row = _validate(source, raw, f"{prefix}/{record}", record, None if lines is None else lines[index])
        if row is not None:
            kept.add(record, row, len(raw))
            if kept.full:
                yield from kept.take()
        elif lines is None and source.problems.malformed:
            return
    yield from kept.take()


def _validate_all(source: ReadContext, texts: Sequence[bytes]) -> list[Row] | None:
    """Return all records, or None if something is wrong with one."""
    validate = source.validator.validate_json
    if source.validator.may_nest and any(_may_be_deep(raw) for raw in texts):
        return None
    try:
        return [validate(raw) for raw in texts]
    except ValidationError:
        return None


def _validate(source: ReadContext, raw: bytes, pointer: str, record: int, line: int | None) -> Row | None:
    """Return the record in the JSON text ``raw``, or None after refusing it for what is wrong with it."""
    validator = source.validator
    if validator.may_nest and _may_be_deep(raw):
        depth = json_depth(raw)
        if depth > validator.max_depth:
            reason = f"The record is nested {depth} levels deep: at most {validator.max_depth} are allowed"
            refuse(source, record, line, raw.strip(), [Violation(pointer, "too_deep", reason, record, line)])
            return None
    try:
        return validator.validate_json(raw)
    except ValidationError as error:
        violations, total = validator.violations(error, pointer, record, line, raw)
        refuse(source, record, line, raw.strip(), violations, total)
        return None


def _may_be_deep(raw: bytes) -> bool:
    # Only values of fields that may nest can nest deeper than any limit allows; everything else fails by its type.
    return raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
