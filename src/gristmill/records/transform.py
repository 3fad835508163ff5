"""The step that runs the transforms of a contract's pipeline over a batch."""

from collections.abc import Sequence
from functools import lru_cache, partial

from gristmill.datasets.contract import Contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.types import TYPES
from gristmill.records.batch import Batch, BatchContext
from gristmill.transforms.multiply import check_repeated
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import Seen, run
from gristmill.transforms.spec import Step, StepContext


class Pipelines:
    """The bound steps of contracts; binding takes a millisecond, so they are kept."""

    def __init__(self, registry: StepRegistry) -> None:
        self._bind = lru_cache(maxsize=1000)(partial(bind_pipeline, registry=registry))

    def steps(self, contract: Contract) -> list[Step]:
        """Return the steps of a contract. Raises Invalid where this process does not know one of them."""
        return self._bind(contract)

    def most_records(self, contract: Contract, most: int) -> int:
        """Return how many records a chunk of the contract has at most. most: by the settings."""
        limits = [step.kind.most_records for step in self.steps(contract)]
        sources = () if contract.embedding is None else contract.embedding.from_ or ()
        limits += [TYPES[contract.field(name).type].most_of_a_chunk for name in sources]
        return min([most, *filter(None, limits)])

    def per_record(self, contract: Contract) -> bool:
        """Say whether a batch of the contract may be cut anywhere."""
        return all(step.per_record for step in self.steps(contract))


class TransformStep:
    """Runs the pipeline of the contract."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def __call__(self, batch: Batch, context: BatchContext) -> Batch:
        return transform(self._pipelines.steps(context.contract), batch, context.contract, StepContext(context.check))


def transform(
    steps: Sequence[Step], batch: Batch, contract: Contract, context: StepContext, seen: Seen | None = None
) -> Batch:
    """Return what ``steps`` make of a batch of what clients send."""
    if not steps:
        return batch
    columns = [column.name for column in contract.input_fields]
    made = run(steps, batch.table.select(columns), context, seen)
    table = made.table
    beside = [name for name in batch.table.column_names if name not in columns]
    if len(made.origins) > batch.table.num_rows:
        check_repeated([batch.table.column(name) for name in beside], made.origins, context.most_bytes)
    for name in beside:
        # What no step knows of, such as vectors that clients sent, follows its record.
        table = table.append_column(name, batch.table.column(name).take(made.origins))
    return Batch(table, made.origins, made.failed, made.merged)
