"""What the plan report says of effort: how far searches look for each target of recall, and what would help."""

from typing import Any

from gristmill.datasets.lookup import Dataset
from gristmill.search.query.catalogue import Graphs
from gristmill.search.query.effort import Effort
from gristmill.search.query.vector import vector_bytes
from gristmill.search.repository.recall import K

TARGETS = (0.9, 0.95, 0.98, 0.99, 0.999)
# A measurement that is smaller than its target by more than this is no chance.
SHORT = 0.01


def efforts(found: Graphs, dataset: Dataset, measured: dict[str, Any] | None) -> dict[str, Any]:
    """Return ``efforts``, one for each of ``TARGETS`` and the dataset's own, and ``proposal``, None if all is well."""
    assert dataset.contract.embedding is not None
    own = dataset.contract.embedding.recall_target
    size = vector_bytes(dataset.contract.vector_storage, dataset.contract.vector_dimensions or 0)
    if not found.graphs:
        return {"efforts": [], "proposal": None}
    of = {target: found.effort(target, K) for target in sorted({*TARGETS, own})}
    shown = [
        {
            "recall_target": target,
            "ef": effort.ef,
            "expected_recall": 1.0 if found.is_compared(effort, size) else round(effort.expected, 4),
            "reached": effort.reached or found.is_compared(effort, size),
            "walk_ms": _walk_ms(found, effort),
        }
        for target, effort in of.items()
    ]
    compared = found.is_compared(of[own], size)
    return {"efforts": shown, "proposal": None if compared else _proposal(of[own], own, measured)}


def _walk_ms(found: Graphs, effort: Effort) -> float | None:
    """Return how long the walks of a search took, one after the other, when they were measured."""
    walks = [graph.curve.walk_ms_at(visits) for graph, visits in zip(found.graphs, effort.visits, strict=True)]
    return None if None in walks else round(sum(walk for walk in walks if walk is not None), 3)


def _proposal(effort: Effort, target: float, measured: dict[str, Any] | None) -> str | None:
    if not effort.reached:
        return (
            f"The largest effort is expected to find {effort.expected:.4f} of the nearest, less than {target:g}:"
            " rebuild the index, set a smaller recall_target, or ask with exact"
        )
    if effort.source == "assumed":
        return "Nothing was learnt of an index yet: gristmill index tune learns it now"
    value = None if measured is None or measured["exact"] else measured["value"]
    if value is not None and value < target - SHORT:
        return f"Searches found {value:.4f} of the nearest when measured, less than {target:g}: rebuild the index"
    return None
