"""How rows of a search become the hits of its answer."""

from collections.abc import Sequence
from typing import Any

from gristmill.search.query.schemas import SearchRequest
from gristmill.search.query.statements import Layout
from gristmill.search.query.vector import score_of


def show_hits(layout: Layout, request: SearchRequest, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the hits as JSON has them: key (if the dataset has one), record, and what the mode ranks by.

    Mode vector: distance and score. text: score. hybrid: score, the distance (null if the record is not among the
    nearest) and its rank in each of the rankings (null if it is not in that one).
    """
    contract = layout.contract
    key, width = contract.key, layout.width(request.embedding)
    hits = []
    for row in rows:
        record = layout.record(row, request.embedding)
        hit: dict[str, Any] = {}
        if key:
            # As ``show_key`` has it: the same values, which are shown once.
            hit["key"] = record[key[0]] if len(key) == 1 else [record[name] for name in key]
        hit["record"] = record
        place = float(row[width + 1])
        if request.mode == "vector":
            assert contract.embedding is not None
            hit["distance"] = place
            hit["score"] = score_of(contract.embedding.metric, place, layout.dimensions)
        elif request.mode == "text":
            hit["score"] = -place
        else:
            distance, near, words = row[width + 2 : width + 5]
            hit |= {"distance": distance, "score": -place, "ranks": {"vector": near, "text": words}}
        hits.append(hit)
    return hits
