"""What a worker would refuse, found while the client waits: records pass the steps of the contract."""

from collections.abc import Sequence

import numpy as np

from gristmill.datasets.contract import Contract
from gristmill.records.apply.output import of_record, validate_output
from gristmill.records.batch import Batch as RecordBatch
from gristmill.records.ingest.chunking import Batch
from gristmill.records.transform import transform
from gristmill.records.validation.rows import Problems, output_validator_of
from gristmill.transforms.run import MergedUnfit
from gristmill.transforms.spec import Step, StepContext


def check_through_steps(contract: Contract, steps: Sequence[Step], batch: Batch, problems: Problems) -> int:
    """Return how many rows the steps make of a batch of valid records; add what does not fit to ``problems``."""
    records = batch.table.num_rows
    try:
        made = transform(steps, RecordBatch(batch.table, np.arange(records)), contract, StepContext())
    except MergedUnfit as error:
        problems.add(error.violation(batch.first_record + error.records[0]))
        return 0
    table, _, unfit = validate_output(output_validator_of(contract), made)
    for row, violations in sorted(unfit.items()):
        problems.add(*of_record(batch.first_record + row, violations))
    return int(table.num_rows)
