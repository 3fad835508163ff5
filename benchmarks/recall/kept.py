"""Searches whose effort is learnt from vectors that clients searched by, not from records."""

import json

from benchmarks import index
from benchmarks.figures import Row
from benchmarks.harness import Bench
from benchmarks.recall.served import DEFAULT_TARGET, TARGET_RECALL, rounds
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import search

# Kept as the API keeps them, but at once: it takes one in a second.
_KEEP = """
INSERT INTO gristmill.kept_queries (dataset_id, slot, vector)
SELECT id, %(slot)s, %(vector)s FROM gristmill.datasets WHERE name = %(name)s
"""


def measure(bench: Bench, asked: Asked) -> Row:
    """Return what searches by one half of the queries reach when the effort is learnt from the other half.

    It stays so afterwards.
    """
    what = f"  the same, target {DEFAULT_TARGET}: {asked.size}, learnt from half of the queries, asked the others"
    if not index.learns(bench, NAME):
        return Row(what, "not measured: this version learns no curves", values={"rows": asked.rows})
    bench.client.alter_dataset(NAME, {"embedding": {"keep_queries": True}}, wait=True)
    # The first half of the texts are single ones, the other half are joined: every second one is of each kind.
    for slot, vector in enumerate(asked.vectors[::2]):
        bench.rows(_KEEP, {"slot": slot, "vector": json.dumps(vector), "name": NAME})
    index.tune(bench, NAME)
    found = search(bench, NAME, asked.vectors[1::2], asked.kth[1::2], K, 2 * rounds(bench, asked.rows))
    if found.known_from != ["queries"]:
        raise RuntimeError(f"the effort is not known from queries: {found.known_from}")
    return Row(
        what,
        f"{found.times}, recall@{K} {found.recall:.4f}; {found.told()}",
        f"recall ≥ {TARGET_RECALL}",
        found.recall >= TARGET_RECALL,
        {**found.values(), "rows": asked.rows},
    )
