"""How rows of a search become the hits of its answer."""

from collections.abc import Sequence
from typing import Any

from gristmill.datasets.keys import show_key
from gristmill.search.query.schemas import SearchRequest
from gristmill.search.query.statements import Layout
from gristmill.search.query.vector import score_of


def show_hits(layout: Layout, request: SearchRequest, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the hits as JSON has them: key (if the dataset has one), record, and what the mode ranks by.

    Mode vector: distance and score. text: score. hybrid: score, the distance (null if the record is not among the
    nearest) and its rank in each of the rankings (null if it is not in that one).
    """
    contract = layout.contract
    width = layout.width(request.embedding)
    hits = []
    for row in rows:
        hit: dict[str, Any] = {}
        if contract.key:
            hit["key"] = show_key(contract, tuple(row[place] for place in layout.key_places))
        hit["record"] = layout.record(row, request.embedding)
        place = float(row[width + 1])
        if request.mode == "vector":
            assert contract.embedding is not None
            hit |= {"distance": place, "score": score_of(contract.embedding.metric, place, layout.dimensions)}
        elif request.mode == "text":
            hit["score"] = -place
        else:
            distance, near, words = row[width + 2 : width + 5]
            hit |= {"distance": distance, "score": -place, "ranks": {"vector": near, "text": words}}
        hits.append(hit)
    return hits
