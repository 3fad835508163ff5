"""A record that does not fit the contract, as readers report it when the good records go on without it."""

from dataclasses import dataclass

from gristmill.core.errors import Violation

# What a list of rejects, downloaded as CSV, has beside the fields. It may be sent back with them.
RAW_COLUMN = "_raw"
NOTE_COLUMNS = ("_record", "_line", "_errors", RAW_COLUMN)


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that was refused.

    record: its index in the request. line: where it starts in a CSV or NDJSON body, from 1, else None.
    raw: the record as it was sent (the JSON text, the CSV row without its line end); a row of a columnar format is a
    JSON object. places: what is wrong, at most 100.
    """

    record: int
    line: int | None
    raw: bytes
    violations: tuple[Violation, ...]
