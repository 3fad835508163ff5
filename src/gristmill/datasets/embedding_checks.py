"""The rules of ``embedding`` in contracts: what fits the fields, and which embedder, metric and storage go together."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.contract_checks import unknown_field
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedding import LEAST_TARGET, MOST_TARGET, EmbeddingSpec
from gristmill.datasets.types import TYPES
from gristmill.embeddings.port import Gives, Reads

# The embedder of an image field whose contract names none.
IMAGE_EMBEDDER = "image_layout"
_BIT_METRIC, _BIT_STORAGE = "hamming", "bit"


class KnownEmbedder(NamedTuple):
    """What a contract has to fit of an embedder."""

    dimensions: int
    reads: Reads = "text"
    gives: Gives = "vector"


def complete_embedding(
    contract: Contract, embedding: EmbeddingSpec, embedders: Mapping[str, KnownEmbedder], default: str
) -> EmbeddingSpec:
    """Return the embedding with what follows from the rest: the embedder, its dimensions, metric and storage.

    default: the embedder of texts; an image field has one of its own.
    """
    known = None
    if embedding.from_ is not None:
        name = embedding.embedder or default_embedder(contract.fields, embedding.from_, default)
        known = embedders.get(name)
        embedding = embedding.model_copy(update={"embedder": name})
        if known is not None and embedding.dimensions is None:
            embedding = embedding.model_copy(update={"dimensions": known.dimensions})
    given = embedding.model_fields_set
    bits = known is not None and known.gives == "bits"
    if "metric" not in given and (bits or embedding.storage == _BIT_STORAGE):
        embedding = embedding.model_copy(update={"metric": _BIT_METRIC})
    if "storage" not in given and (bits or embedding.metric == _BIT_METRIC):
        embedding = embedding.model_copy(update={"storage": _BIT_STORAGE})
    return embedding


def default_embedder(fields: tuple[FieldSpec, ...], names: tuple[str, ...], default: str) -> str:
    """Return the embedder of fields where the contract names none. default: that of texts."""
    types = {field.name: field.type for field in fields}
    reads = {TYPES[types[name]].read_by for name in names if name in types}
    return IMAGE_EMBEDDER if reads == {"image"} else default


def check_embedding(
    contract: Contract, embedding: EmbeddingSpec, embedders: Mapping[str, KnownEmbedder]
) -> Iterator[Violation]:
    """Yield what is wrong with a completed embedding."""
    where = "/embedding"
    yield from check_target(embedding)
    if embedding.from_ is None:
        column = contract.embedding_column
        assert column is not None
        for member, code, reason in TYPES[column.type].check(column):
            yield Violation(f"{where}/{member}", code, reason, field=member)
        if embedding.embedder is not None:
            reason = "An embedder needs from, the list of fields that it reads"
            yield Violation(f"{where}/embedder", "not_applicable", reason, field="embedder")
        yield from _check_comparison(embedding, "Vectors that clients supply", None)
        return
    name = embedding.embedder or ""
    known = embedders.get(name)
    yield from check_sources(contract, embedding.from_, f"{where}/from", known.reads if known else None, "Embedding")
    if known is None:
        fitting = _fitting(contract, embedding.from_, embedders)
        reason = f"There is no embedder {shorten(name)}; the embedders are: {', '.join(fitting) or 'none is installed'}"
        yield Violation(f"{where}/embedder", "unknown_embedder", reason, field="embedder")
        return
    yield from _check_kind(contract, embedding.from_, embedders, name)
    if embedding.dimensions != known.dimensions:
        reason = f"The embedder {name} makes vectors of {known.dimensions} dimensions, not {embedding.dimensions}"
        yield Violation(f"{where}/dimensions", "wrong_dimensions", reason, field="dimensions")
    yield from _check_comparison(embedding, f"The vectors of the embedder {name}", known.gives)


def check_target(embedding: EmbeddingSpec) -> Iterator[Violation]:
    """Yield what is wrong with the target of recall."""
    target = embedding.recall_target
    if not LEAST_TARGET <= target <= MOST_TARGET:
        reason = f"{shorten(target)} is not from {LEAST_TARGET:g} to {MOST_TARGET:g}"
        yield Violation("/embedding/recall_target", "out_of_range", reason, field="recall_target")


def _fitting(contract: Contract, names: tuple[str, ...], embedders: Mapping[str, KnownEmbedder]) -> list[str]:
    """Return the embedders that read the fields; all of them where the fields are of no one kind."""
    reads = {TYPES[contract.field(name).type].read_by for name in names if contract.has_field(name)}
    return sorted(name for name, known in embedders.items() if len(reads) != 1 or known.reads in reads)


def _check_kind(
    contract: Contract, names: tuple[str, ...], embedders: Mapping[str, KnownEmbedder], name: str
) -> Iterator[Violation]:
    """Yield a violation where the embedder reads another kind of field than all those that are named."""
    reads = {TYPES[contract.field(one).type].read_by for one in names if contract.has_field(one)}
    known = embedders[name]
    if len(reads) == 1 and known.reads not in reads and None not in reads:
        valid = ", ".join(_fitting(contract, names, embedders)) or "none is installed"
        (kind,) = reads
        reason = f"The embedder {name} reads fields of type {known.reads}; those that read a field of type {kind} are: "
        yield Violation("/embedding/embedder", "wrong_embedder", reason + valid, field="embedder")


def _check_comparison(embedding: EmbeddingSpec, what: str, gives: Gives | None) -> Iterator[Violation]:
    """Yield what does not go together of metric, storage and what is made. gives: None for whatever is sent."""
    bits = embedding.metric == _BIT_METRIC
    if gives is not None and bits != (gives == "bits"):
        valid = _BIT_METRIC if gives == "bits" else "cosine, l2, inner_product"
        made = "bits" if gives == "bits" else "numbers"
        reason = f"{what} are {made}, which {embedding.metric} does not compare; the valid metrics are: {valid}"
        yield Violation("/embedding/metric", "wrong_metric", reason, field="metric")
    elif bits != (embedding.storage == _BIT_STORAGE):
        valid = _BIT_STORAGE if bits else "vector, halfvec"
        reason = f"{what} are compared by {embedding.metric}, which the storage {embedding.storage} is not for; "
        reason += f"the valid ones are: {valid}"
        yield Violation("/embedding/storage", "wrong_storage", reason, field="storage")


def check_sources(
    contract: Contract, names: tuple[str, ...], pointer: str, reads: Reads | None, purpose: str
) -> Iterator[Violation]:
    """Yield what is wrong with the fields that are named. reads: what is wanted, None for what any embedder reads."""
    if not names:
        yield Violation(pointer, "missing", f"from must name at least one {reads or 'text'} field", field="from")
    types = {field.name: field.type for field in contract.fields}
    kinds = {TYPES[types[name]].read_by for name in names if name in types}
    for index, name in enumerate(names):
        where = f"{pointer}/{index}"
        if name in names[:index]:
            yield Violation(where, "duplicate", f"from names {shorten(name)} twice", field=name)
            continue
        if name not in types:
            yield unknown_field(where, name, contract)
            continue
        kind = TYPES[types[name]].read_by
        if kind is None or (purpose != "Embedding" and kind != reads):
            wanted = "text or image" if purpose == "Embedding" else "text"
            reason = f"{purpose} a field of type {types[name]} is not supported: {name} is no {wanted}"
            yield Violation(where, "not_supported", reason, field=name)
        elif len(kinds - {None}) > 1:
            reason = f"from names texts or one image, not both: {name} is of type {types[name]}"
            yield Violation(where, "not_supported", reason, field=name)
        elif kind == "image" and len(names) > 1:
            reason = f"An embedder of images reads one field: name {shorten(name)} alone"
            yield Violation(where, "too_many", reason, field=name)
