"""The step that embeds the records of a batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Internal, Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract, EmbeddingColumn
from gristmill.datasets.embedders import embedding_values, require_same
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.types import TYPES
from gristmill.embeddings.port import Flaw, Vectors
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.records.batch import Batch, BatchContext
from gristmill.records.columns import Row
from gristmill.records.errors import RecordUnfit
from gristmill.transforms.run import FailedRecord


class EmbeddingStep:
    """Embeds what the contract names: text fields, joined by line ends, of which null and empty ones are passed over;
    or one image field, whose nulls have no vector.
    """

    def __init__(self, embedders: EmbedderRegistry) -> None:
        self._embedders = embedders

    def __call__(self, batch: Batch, context: BatchContext) -> Batch:
        """Return the batch with the vectors as its column ``_embedding``, records without a flaw only.

        Those with one are among its failed ones. Raises EmbedderChanged if the dataset's other vectors were made
        differently, RecordUnfit for a flaw in a row that was made of several records.
        """
        made = self._embed(context.contract, context.dataset, batch.table, context.check)
        if made is None:
            return batch
        column, flaws = made
        whole = replace(batch, table=batch.table.append_column(EMBEDDING_COLUMN, column))
        return _without(whole, flaws, source_of(context.contract)) if flaws else whole

    def embed_record(self, contract: Contract, dataset: Dataset, record: Row) -> Any:
        """Return the vector of one record, of which only the source fields are looked at; None: nothing to embed.

        Raises RecordUnfit for a flaw.
        """
        sources = (contract.embedding.from_ if contract.embedding is not None else None) or ()
        fields = [contract.field(name) for name in sources]
        table = pa.table({one.name: TYPES[one.type].to_column(one, [record[one.name]]) for one in fields})
        made = self._embed(contract, dataset, table, lambda: None)
        if made is None:
            return None
        column, flaws = made
        for flaw in flaws:
            raise unfit(flaw, source_of(contract), "The record")
        return column.to_pylist()[0]

    def _embed(
        self, contract: Contract, dataset: Dataset, table: pa.Table, check: Callable[[], None]
    ) -> tuple[pa.Array, list[Flaw]] | None:
        embedding, target = contract.embedding, contract.embedding_column
        if embedding is None or target is None or embedding.from_ is None or embedding.embedder is None:
            return None
        columns = [table.column(name).to_pylist() for name in embedding.from_]
        flaws: list[Flaw] = []
        if self._embedders.reads(embedding.embedder) == "image":
            reader = self._embedders.get_of_images(embedding.embedder)
            require_same(dataset, reader.name, reader.version)
            vectors, flaws = reader.embed(columns[0], check)
        else:
            embedder = self._embedders.get(embedding.embedder)
            require_same(dataset, embedder.name, embedder.version)
            vectors = embedder.embed(["\n".join(filter(None, texts)) for texts in zip(*columns, strict=True)])
        return _column(target, vectors, table.num_rows), flaws


def source_of(contract: Contract) -> str:
    """Return the name of the first field that vectors are made of."""
    assert contract.embedding is not None
    assert contract.embedding.from_
    return contract.embedding.from_[0]


def unfit(flaw: Flaw, field: str, record: str, place: int | None = None) -> RecordUnfit:
    """Return the error that a flaw is where its record cannot be left out. record: as a sentence begins with it."""
    reason = f"{field} {flaw.reason}"
    pointer = f"/{field}" if place is None else f"/{place}/{field}"
    violation = Violation(pointer, flaw.code, reason, record=place, field=field)
    return RecordUnfit(f"{record}: {reason} ({flaw.code})", [violation], field=field)


def _column(target: EmbeddingColumn, vectors: Vectors, rows: int) -> pa.Array:
    expected = (rows, target.dimensions)
    if vectors.shape != expected:
        raise Internal(f"An embedder gave vectors of shape {vectors.shape}, not {expected}")
    return embedding_values(target, vectors)


def _without(batch: Batch, flaws: list[Flaw], field: str) -> Batch:
    """Return the batch without the records that have a flaw: a record is written as a whole or not at all."""
    if batch.merged is not None:
        raise unfit(flaws[0], field, "A row that was made of several records")
    origins = np.arange(batch.table.num_rows) if batch.origins is None else batch.origins
    failed = {one.record: one for one in batch.failed}
    for flaw in flaws:
        record = int(origins[flaw.row])
        failed.setdefault(record, FailedRecord(record, None, flaw.code, f"{field} {flaw.reason}", field))
    good = ~np.isin(origins, list(failed))
    return replace(
        batch,
        table=batch.table.filter(pa.array(good)),
        origins=origins[good],
        failed=[failed[record] for record in sorted(failed)],
    )
