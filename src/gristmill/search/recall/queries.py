"""What to search by when recall is measured: vectors that were searched by, or records that are in no graph."""

import random
import uuid

import numpy as np
from pydantic_core import from_json, to_json
from sqlalchemy import Connection

from gristmill.datasets.contract_parser import Contract
from gristmill.search.query.vector import Ranges, gaps, held_out
from gristmill.search.recall.nearest import Queries, Rest
from gristmill.search.repository import curves, record_ids, vectors
from gristmill.search.repository.catalogue import BLOCK

# Fewer tell too little.
LEAST = 16
# With so many vectors that were searched by, records are not needed.
ENOUGH_KEPT = 100
# As far from the nearest records as texts that are in no row are: 0.42 and 0.56 for the first and the tenth of 60,000.
MOVED = 0.3


def draw(
    connection: Connection,
    dataset_id: uuid.UUID,
    contract: Contract,
    ranges: Ranges,
    count: int,
    seed: int,
    rest: Rest = lambda: None,
) -> Queries:
    """Return up to ``count`` queries; none where there are fewer than ``LEAST``.

    A record that is in a graph is found by a walk through it far more easily than what clients ask for, as it is linked
    with its neighbours. So records are taken that are not: those held out, and those of no segment. What clients ask
    for is like the records and not one of them: so each is moved a part of the way towards another one.
    """
    chosen = random.Random(seed)
    assert contract.embedding is not None
    if contract.embedding.keep_queries:
        kept = curves.kept_queries(connection, dataset_id)
        if len(kept) >= ENOUGH_KEPT:
            kept = chosen.sample(kept, min(count, len(kept)))
            return Queries(tuple(kept), (0,) * len(kept), "queries")
    held = held_out(ranges)
    ids = vectors.ids_of(connection, contract.name, held) if held else []
    outside = [gap for gap in gaps(ranges) if gap[0] is not None]
    ids = chosen.sample(ids, min(count, len(ids)))
    ids += _drawn(connection, contract.name, outside, max(count - len(ids), count // 2), chosen, rest)
    found = vectors.texts_of(connection, contract.name, chosen.sample(ids, min(count, len(ids))))
    if len(found) < LEAST:
        return Queries((), ())
    # With fewer records than queries a record is moved towards several others.
    starts = (found * -(-count // len(found)))[:count]
    texts = [_moved(text, _another(found, id_, chosen), contract.embedding.metric, chosen) for id_, text in starts]
    return Queries(tuple(texts), tuple(id_ for id_, _ in starts))


def _another(found: list[tuple[int, str]], own: int, chosen: random.Random) -> str:
    """Return the vector of a record that is not of the same block, if there is one: neighbours are often alike."""
    apart = [text for id_, text in found if id_ // BLOCK != own // BLOCK]
    return chosen.choice(apart or [text for _, text in found])


def _moved(one: str, other: str, metric: str, chosen: random.Random) -> str:
    """Return the vector at ``MOVED`` of the way from one to another; of bits, so many are those of the other."""
    if metric == "hamming":
        return "".join(b if chosen.random() < MOVED else a for a, b in zip(one, other, strict=True))
    both = np.array([from_json(one), from_json(other)], np.float64)
    if metric == "cosine":
        both /= np.linalg.norm(both, axis=1, keepdims=True)
    return to_json(((1 - MOVED) * both[0] + MOVED * both[1]).tolist()).decode()


def _drawn(
    connection: Connection,
    table: str,
    outside: list[tuple[int | None, int | None]],
    count: int,
    chosen: random.Random,
    rest: Rest,
) -> list[int]:
    """Return up to ``count`` records between and after the segments, spread over them."""
    end = record_ids.highest_id(connection, table) + 1
    spans = [(lo or 1, hi or end) for lo, hi in outside if (lo or 1) < (hi or end)]
    found: set[int] = set()
    for _ in range(count if spans else 0):
        lo, hi = chosen.choices(spans, [hi - lo for lo, hi in spans])[0]
        record = vectors.id_from(connection, table, chosen.randrange(lo, hi), hi)
        if record is not None:
            found.add(record)
        rest()
    return sorted(found)
