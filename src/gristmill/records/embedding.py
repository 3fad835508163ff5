"""The step that embeds the records of a batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Internal
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.embedders import require_same
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.types.matrices import vector_column
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.records.batch import Batch, BatchContext
from gristmill.records.columns import Row

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class EmbeddingStep:
    """Embeds the text fields that the contract names, joined by line ends; null and empty ones are passed over."""

    def __init__(self, embedders: EmbedderRegistry) -> None:
        self._embedders = embedders

    def __call__(self, batch: Batch, context: BatchContext) -> Batch:
        """Return the batch with the vectors as its column ``_embedding``.

        Raises EmbedderChanged if the dataset's other vectors were made differently.
        """
        vectors = self._embed(context.contract, context.dataset, batch.table)
        if vectors is None:
            return batch
        column = vector_column(vectors, vectors.shape[1])
        return replace(batch, table=batch.table.append_column(EMBEDDING_COLUMN, column))

    def embed_record(self, contract: Contract, dataset: Dataset, record: Row) -> list[float] | None:
        """Return the vector of one record, of which only the source fields are looked at; None: nothing to embed."""
        sources = (contract.embedding.from_ if contract.embedding is not None else None) or ()
        table = pa.table({name: pa.array([record[name]], pa.string()) for name in sources})
        vectors = self._embed(contract, dataset, table)
        if vectors is None or np.isnan(vectors).any():
            return None
        return [float(number) for number in vectors[0]]

    def _embed(self, contract: Contract, dataset: Dataset, table: pa.Table) -> Vectors | None:
        embedding = contract.embedding
        if embedding is None or embedding.from_ is None or embedding.embedder is None:
            return None
        embedder = self._embedders.get(embedding.embedder)
        require_same(dataset, embedder.name, embedder.version)
        columns = [table.column(name).to_pylist() for name in embedding.from_]
        vectors = embedder.embed(["\n".join(filter(None, texts)) for texts in zip(*columns, strict=True)])
        expected = (table.num_rows, embedding.dimensions)
        if vectors.shape != expected:
            raise Internal(f"The embedder {embedder.name} gave vectors of shape {vectors.shape}, not {expected}")
        return vectors
