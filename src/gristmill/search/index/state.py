"""Reads the state of a dataset's index: its segments with the records they still have, gaps between them, the tail."""

import uuid

from sqlalchemy import Connection

from gristmill.search.index.policy import IndexState, Piece
from gristmill.search.index.settings import BuildSettings
from gristmill.search.repository import catalogue, indexes, record_ids
from gristmill.search.repository.searchable import Searchable


def read_index_state(
    connection: Connection,
    dataset_id: uuid.UUID,
    dataset: Searchable,
    settings: BuildSettings,
    longest_tail: int | None = None,
) -> IndexState:
    """Count the records of each ready segment, of gaps and of the tail, by the index on ``_id`` alone.

    settings: say which graphs were built quickly. longest_tail: counting the tail ends there.
    """
    table = dataset.name
    pieces: list[Piece] = []
    start = 1
    ready = [segment for segment in catalogue.all_segments(connection, dataset_id) if segment.state == "ready"]
    facts = indexes.index_facts(connection, [segment.index_name for segment in ready])
    candidates = {fact.name: fact.parameters.get("ef_construction") for fact in facts}
    for segment in ready:
        if start < segment.lo:
            held = record_ids.count_records(connection, table, start, segment.lo)
            pieces.append(Piece(start, segment.lo, held, 0, None))
        held = record_ids.count_records(connection, table, segment.lo, segment.hi)
        found = candidates.get(segment.index_name)
        quick = found is not None and settings.is_quick(found, segment.rows, dataset.dimensions)
        pieces.append(Piece(segment.lo, segment.hi, held, segment.rows, segment, quick))
        start = segment.hi
    tail = record_ids.count_records(connection, table, start, limit=longest_tail)
    return IndexState(tuple(pieces), start, tail)
