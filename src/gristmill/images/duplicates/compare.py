"""Compares the vectors of a dataset: read into a temporary file, so that memory is that of keys and of a few blocks."""

import errno
import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import Unavailable
from gristmill.datasets.embedding import EmbeddingSpec
from gristmill.images.duplicates.bits import link_bits
from gristmill.images.duplicates.errors import TooManyCompared
from gristmill.images.duplicates.groups import Distances, Duplicates, Groups, Places, collect
from gristmill.images.duplicates.schemas import HAMMING
from gristmill.images.duplicates.vectors import distances, link_vectors

Tick = Callable[[float], None]
# Reading takes about this share of the time of a job.
READING = 0.1


@dataclass(frozen=True, slots=True)
class Compared:
    """keys: of all records that have a vector, in their order. found: those that have a duplicate."""

    keys: pa.Table
    found: Duplicates


def compare(
    pages: Iterable[tuple[pa.Table, list[bytes]]], embedding: EmbeddingSpec, threshold: float, most: int, tick: Tick
) -> Compared | None:
    """Return the near-duplicates among the records of ``pages``; None where no record has a vector.

    most: how many records may be compared. Raises TooManyCompared beyond it.
    """
    keys: list[pa.Table] = []
    digests: list[bytes] = []
    count = 0
    with tempfile.TemporaryFile(prefix="gristmill-") as file:
        for page, sent in pages:
            count += len(sent)
            if count > most:
                limit = f"at most {most} are (images_max_compared): give a filter"
                raise TooManyCompared(f"More than {most} records would be compared with each other, and {limit}")
            keys.append(page)
            block = _decoded(sent, embedding)
            _write(file, block)
            digests += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in block]
            tick(0.0)
        if not count:
            return None
        firsts, node_of = _nodes(b"".join(digests))
        found = _linked(_mapped(file, count, block), firsts, node_of, embedding, threshold, tick)
    return Compared(pa.concat_tables(keys), found)


def _linked(
    matrix: npt.NDArray[Any], firsts: Places, node_of: Places, embedding: EmbeddingSpec, threshold: float, tick: Tick
) -> Duplicates:
    groups = Groups(len(firsts))
    own: Distances = np.zeros(len(firsts))

    def share(done: float) -> None:
        tick(READING + (1 - READING) * done)

    if str(embedding.metric) == HAMMING:
        link_bits(np.ascontiguousarray(matrix[firsts]), int(threshold), groups, share)
    else:
        metric: Any = embedding.metric
        link_vectors(matrix, firsts, metric, threshold, groups, share)
        if metric == "inner_product":
            own = distances(matrix, metric, firsts, firsts)
    return collect(groups, node_of, np.where(own <= threshold, own, np.inf))


def _decoded(sent: list[bytes], embedding: EmbeddingSpec) -> npt.NDArray[Any]:
    """Return vectors in Postgres' binary form as rows of float32, or of words of 64 bits."""
    storage, data = str(embedding.storage), b"".join(sent)
    if storage == "bit":
        # An int32, how many bits there are, and the bits.
        octets = np.frombuffer(data, np.uint8).reshape(len(sent), -1)[:, 4:]
        words = np.zeros((len(sent), -(-octets.shape[1] // 8) * 8), np.uint8)
        words[:, : octets.shape[1]] = octets
        return words.view(np.uint64)
    # Two int16 before the numbers: how many there are, and zero.
    kind, head = (np.dtype(">f2"), 2) if storage == "halfvec" else (np.dtype(">f4"), 1)
    return np.frombuffer(data, kind).reshape(len(sent), -1)[:, head:].astype(np.float32)


def _write(file: IO[bytes], block: npt.NDArray[Any]) -> None:
    try:
        file.write(block.tobytes())
        file.flush()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Unavailable("The disk has no room for the vectors that are compared", retry_after=60) from error
        raise


def _mapped(file: IO[bytes], count: int, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the rows in ``file`` as an array that stays on disk."""
    return np.memmap(file, like.dtype, "r", shape=(count, like.shape[1]))


def _nodes(digests: bytes) -> tuple[Places, Places]:
    """Return the first record of each vector, rising, and for each record which of these has its vector.

    Equal vectors are compared once: of a million equal images there is one. digests: 16 bytes of each record.
    """
    pairs = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    order = np.lexsort((pairs[:, 0], pairs[:, 1])).astype(np.int64)
    new = np.ones(len(pairs), np.bool_)
    new[1:] = (pairs[order[1:]] != pairs[order[:-1]]).any(axis=1)
    # The order is stable: the first of equal ones is the smallest.
    firsts = order[new]
    rank = np.empty(len(firsts), np.int64)
    rank[np.argsort(firsts)] = np.arange(len(firsts))
    node_of = np.empty(len(pairs), np.int64)
    node_of[order] = rank[np.cumsum(new) - 1]
    return np.sort(firsts), node_of
