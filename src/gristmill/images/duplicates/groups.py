"""Groups of nodes that are linked, directly or over others, and how near the nearest neighbour of each is.

Memory is that of the nodes, however many pairs there are: a million equal images make 5 * 10^11 pairs and one group.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
Distances = npt.NDArray[np.float64]


class Groups:
    """Of ``size`` nodes. labels: the smallest node of the group of each. nearest: a distance, infinite for none."""

    def __init__(self, size: int) -> None:
        self.labels: Places = np.arange(size, dtype=np.int64)
        self.nearest: Distances = np.full(size, np.inf)

    def link(self, left: Places, right: Places) -> None:
        """Join the groups of each two nodes: larger labels point to smaller ones until no pair has two."""
        labels = self.labels
        while True:
            one, other = labels[left], labels[right]
            apart = one != other
            if not apart.any():
                return
            left, right, one, other = left[apart], right[apart], one[apart], other[apart]
            np.minimum.at(labels, np.maximum(one, other), np.minimum(one, other))
            self._flatten()

    def nearer(self, nodes: Places, distances: Distances) -> None:
        """Take the distances of some nodes to a neighbour, where they are smaller than what is known."""
        np.minimum.at(self.nearest, nodes, distances)

    def _flatten(self) -> None:
        while True:
            further = self.labels[self.labels]
            if np.array_equal(further, self.labels):
                return
            self.labels[:] = further


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The records that have a duplicate, in their order.

    records: their places. groups: the number of the group of each, from 1, in the order of the groups' first records.
    firsts: the place of the first record of the group. distances: to the nearest duplicate.
    """

    records: Places
    groups: Places
    firsts: Places
    distances: Distances


def collect(groups: Groups, node_of: Places, own: Distances) -> Duplicates:
    """Return the duplicates among records, of which equal ones share a node.

    node_of: the node of each record. own: the distance between records of one node, infinite where they are no
    duplicates.
    """
    shared = np.bincount(node_of, minlength=len(own)) > 1
    nearest = np.where(shared, np.minimum(groups.nearest, own), groups.nearest)[node_of]
    records = np.flatnonzero(np.isfinite(nearest)).astype(np.int64)
    _, first, group = np.unique(groups.labels[node_of[records]], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return Duplicates(records, rank[group], records[first[group]], nearest[records])
