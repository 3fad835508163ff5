"""The fields that the types of Parquet and Arrow columns stand for: the schema of such a file is the truth."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.core.http.bodies import ARROW
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.vector import MAX_DIMENSIONS
from gristmill.records.infer.sample import check_count
from gristmill.records.readers import MEDIA_TYPES as ALL_TYPES
from gristmill.records.readers import open_reader
from gristmill.records.readers.context import malformed
from gristmill.records.readers.limits.arrow_frames import whole_messages
from gristmill.records.readers.limits.parquet_pages import read_footer
from gristmill.records.readers.parquet import read_parquet

PARQUET = frozenset(one for one in ALL_TYPES if open_reader(one) is read_parquet)
MEDIA_TYPES = PARQUET | {ARROW}
_MAX_DIGITS = 38


@dataclass(frozen=True, slots=True)
class Declared:
    """What a schema says. file: what is to be read. fields: those of the columns that a field takes, in their order.

    left_out: the types of the others. schema_only: there are no values to be read.
    """

    file: BinaryIO
    fields: dict[str, dict[str, Any]]
    left_out: dict[str, str] = field(default_factory=dict)
    schema_only: bool = False


def declare(file: BinaryIO, media_type: str, partial: bool) -> Declared:
    """Return the fields of the columns of a file. partial: of Parquet its footer alone, of a stream the first part.

    Raises Malformed for what is no such file, Invalid for a name that occurs twice.
    """
    try:
        return _declare(file, media_type, partial)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        # Of a schema nothing is trusted either: names may not be UTF-8.
        reason = f"The body cannot be read as what it is said to be: {(str(error).splitlines() or [''])[0][:300]}"
        raise Malformed(reason, [malformed(reason)]) from error


def _declare(file: BinaryIO, media_type: str, partial: bool) -> Declared:
    file.seek(0)
    if media_type in PARQUET:
        read_footer(file)
        file.seek(0)
        schema = pq.ParquetFile(file, pre_buffer=False).schema_arrow
    else:
        if partial:
            file = whole_messages(file)
        file.seek(0)
        schema = pa.ipc.open_stream(file).schema
    names = schema.names
    check_count(names)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        reason = f"The column {repeated[0][:80]!r} is there twice: give each its own name"
        raise Invalid(reason, [Violation("", "duplicate", reason, field=repeated[0][:80])])
    fields, left_out = {}, {}
    for column in schema:
        body = field_of(column.type)
        if body is None:
            left_out[column.name] = str(column.type)[:80]
        else:
            fields[column.name] = body
    return Declared(file, fields, left_out, partial and media_type in PARQUET)


def field_of(kind: pa.DataType) -> dict[str, Any] | None:
    """Return type and limits of a field that takes columns of ``kind`` exactly, None where there is none."""
    if pa.types.is_dictionary(kind):
        return field_of(kind.value_type)
    for body in _candidates(kind):
        made = FieldSpec(name="sample", **body)
        if not list(TYPES[made.type].check(made)) and TYPES[made.type].accepts_column(made, kind):
            return body
    return None


def _candidates(kind: pa.DataType) -> Iterator[dict[str, Any]]:
    if pa.types.is_null(kind):
        yield {"type": "text"}
    elif pa.types.is_uint64(kind):
        # Half of its range is beyond what an integer holds.
        yield {"type": "decimal"}
    elif pa.types.is_integer(kind):
        yield {"type": "integer"}
    elif pa.types.is_floating(kind):
        yield {"type": "float"}
    elif pa.types.is_decimal(kind):
        if 0 <= kind.scale <= kind.precision <= _MAX_DIGITS:
            yield {"type": "decimal", "precision": kind.precision, "scale": kind.scale}
        yield {"type": "decimal"}
    elif pa.types.is_boolean(kind):
        yield {"type": "boolean"}
    elif pa.types.is_timestamp(kind):
        yield {"type": "timestamp", **({} if kind.tz else {"zone": "UTC"})}
    elif pa.types.is_date(kind):
        yield {"type": "date"}
    elif pa.types.is_duration(kind):
        yield {"type": "duration"}
    elif pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type):
        if kind.list_size <= MAX_DIMENSIONS:
            yield {"type": "vector", "dimensions": kind.list_size}
        yield {"type": "json"}
    elif isinstance(kind, pa.BaseExtensionType):
        yield {"type": "uuid"}
        yield {"type": "json"}
    elif pa.types.is_nested(kind):
        yield {"type": "json"}
    else:
        yield {"type": "text"}
