"""Bodies with members that are no fields, read as the API reads them: by the column, or record by record."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers import columnar
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.reject import Reject
from gristmill.records.validation.columns import Mask, check_columns
from gristmill.records.validation.rows import Problems, RecordValidator, partial_validator_of, validator_of

FIELDS = [{"name": "n", "type": "integer"}, {"name": "t", "type": "text"}]
COLLECT, IGNORE = (parse_contract({"name": "d", "fields": FIELDS, "unknown_fields": u}) for u in ("collect", "ignore"))


def read(
    reader: Reader, body: bytes, contract: Contract, precise: bool = False, partial: bool = False
) -> tuple[list[Any], list[Reject]]:
    """Return (index and payload row of every valid record, the rejects). precise: every record goes the precise way."""

    def mark_all(validator: RecordValidator, table: pa.Table, cells: bool = False) -> tuple[pa.Table, Mask]:
        return check_columns(validator, table, cells)[0], np.ones(table.num_rows, np.bool_)

    rejects: list[Reject] = []
    validator = (partial_validator_of if partial else validator_of)(contract)
    with pytest.MonkeyPatch.context() as patch:
        if precise:
            patch.setattr(columnar, "check_columns", mark_all)
        source = ReadContext(io.BytesIO(body), validator, Problems(), rejects.append)
        steps = list(reader(source))
        source.problems.raise_if_any()
    for step in steps:
        step.table.validate(full=True)
    return [pair for s in steps for pair in zip(s.ords.tolist(), s.table.to_pylist(), strict=True)], rejects
