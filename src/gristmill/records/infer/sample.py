"""What is known of a file by its first part: its columns with their values, however they were written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.errors import Invalid, Violation
from gristmill.records.infer.questions import Question
from gristmill.records.readers.dialect import DEFAULT, CsvDialect

# Records that are looked at, and bytes of their values once they are unpacked.
MAX_RECORDS = 100_000
MAX_BYTES = 64 * 1024 * 1024
MAX_COLUMNS = 1000
# What a value is said to be that comes from a CSV cell; the others are kinds of JSON.
CELL = "cell"
STRING, INTEGER, NUMBER, BOOLEAN, NESTED = "string", "integer", "number", "boolean", "nested"


@dataclass(frozen=True)
class SampledColumn:
    """A column, or a member of JSON records.

    sent: its name in the file. values: those of the sample in the order of the records: texts, or what Arrow has;
    None where the sample has the schema alone. kinds: how many values of each kind there are, nulls apart. declared:
    the field that the column's type in Parquet or Arrow stands for, None for other formats.
    """

    sent: str
    values: pa.ChunkedArray | None
    kinds: Counter[str]
    declared: dict[str, Any] | None = None

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest text; 0 for columns of other values."""
        if self.values is None or not pa.types.is_string(self.values.type):
            return 0
        return int(pc.max(pc.binary_length(self.values)).as_py() or 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read. records: how many were looked at. whole: they are all of the file. bytes: of the body.

    rejected: how many records cannot be read, whatever the contract says; violations: the first of their mistakes.
    left_out: columns of types that no field takes, each with its type. dialect: of CSV. questions: about it.
    """

    columns: Sequence[SampledColumn]
    records: int
    bytes: int
    whole: bool
    rejected: int = 0
    violations: Sequence[Violation] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    dialect: CsvDialect = DEFAULT
    questions: Sequence[Question] = ()


def check_count(names: Sequence[str]) -> None:
    """Raise Invalid for more columns than are looked at."""
    if len(names) > MAX_COLUMNS:
        reason = f"There are {len(names)} columns: at most {MAX_COLUMNS} are looked at"
        raise Invalid(reason, [Violation("", "too_many", reason)])
