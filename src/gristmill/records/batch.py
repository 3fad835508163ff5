"""The records of a chunk on their way through the steps of a worker: a batch and its context in, a batch out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset
from gristmill.transforms.run import FailedRecord
from gristmill.transforms.spec import Indexes


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows between two steps.

    origins: for each row the record of the payload that it was made of, the first where it was made of several; rising
    unless a step works per batch. None: each record is one row. failed: records without rows because a step failed on
    them. A record in neither was dropped. merged: the records that are in a row, where one was made of several.
    """

    table: pa.Table
    origins: Indexes | None = None
    failed: Sequence[FailedRecord] = ()
    merged: Indexes | None = None


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a step knows beside its batch: the dataset, in the version that the records were validated under.

    check: raises when the chunk is to end; long steps call it now and then.
    """

    dataset: Dataset
    check: Callable[[], None] = lambda: None

    @property
    def contract(self) -> Contract:
        return self.dataset.contract


class BatchStep(Protocol):
    """A step of the worker: transforming, embedding, later scoring. A retry gives the same rows."""

    def __call__(self, batch: Batch, context: BatchContext) -> Batch: ...
