"""How the records of a dataset are searched, as its contract says: by vectors, and by words."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Metric = Literal["cosine", "l2", "inner_product", "hamming"]
VectorStorage = Literal["vector", "halfvec", "bit"]
RECALL_TARGET, LEAST_TARGET, MOST_TARGET = 0.98, 0.9, 0.999


class EmbeddingSpec(BaseModel):
    """Where a record's vector comes from and how vectors are compared.

    from_: text fields that the embedder reads, or one image field; None when clients supply vectors as ``_embedding``.
    embedder: name of the embedder, None exactly when ``from_`` is. dimensions: always set in a checked contract.
    storage: vector keeps 32-bit floats; halfvec rounds to 16-bit ones, half the size and twice the dimensions; bit
    keeps bits, which the metric hamming compares, and no other does.
    recall_target: the share of the true nearest that searches shall find, which decides how far they look.
    keep_queries: some vectors that were searched by are kept, so that the effort is learnt from them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    from_: tuple[str, ...] | None = Field(None, alias="from")
    embedder: str | None = None
    metric: Metric = "cosine"
    dimensions: int | None = None
    storage: VectorStorage = "vector"
    recall_target: float = Field(RECALL_TARGET, exclude_if=lambda value: value == RECALL_TARGET)
    keep_queries: bool = Field(False, exclude_if=lambda value: not value)


class TextSearchSpec(BaseModel):
    """Which text fields are searched by their words, and how words are reduced to their stems.

    language: the name of a text search configuration of Postgres; ``simple`` takes words as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    from_: tuple[str, ...] = Field(alias="from")
    language: str = "simple"
