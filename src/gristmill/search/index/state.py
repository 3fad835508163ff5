"""Reads the state of a dataset's index: its segments with the records they still have, gaps between them, the tail."""

import uuid

from sqlalchemy import Connection

from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.policy import IndexState, Piece
from gristmill.search.repository import catalogue, indexes, record_ids


def read_index_state(
    connection: Connection,
    dataset_id: uuid.UUID,
    table: str,
    parameters: GraphParameters,
    longest_tail: int | None = None,
) -> IndexState:
    """Count the records of each ready segment, of gaps and of the tail, by the index on ``_id`` alone.

    parameters: what lasting graphs are built with. longest_tail: counting the tail ends there.
    """
    pieces: list[Piece] = []
    start = 1
    ready = [segment for segment in catalogue.all_segments(connection, dataset_id) if segment.state == "ready"]
    facts = indexes.index_facts(connection, [segment.index_name for segment in ready])
    candidates = {fact.name: fact.parameters.get("ef_construction", 0) for fact in facts}
    for segment in ready:
        if start < segment.lo:
            held = record_ids.count_records(connection, table, start, segment.lo)
            pieces.append(Piece(start, segment.lo, held, 0, None))
        held = record_ids.count_records(connection, table, segment.lo, segment.hi)
        quick = candidates.get(segment.index_name, parameters.ef_construction) < parameters.ef_construction
        pieces.append(Piece(segment.lo, segment.hi, held, segment.rows, segment, quick))
        start = segment.hi
    tail = record_ids.count_records(connection, table, start, limit=longest_tail)
    return IndexState(tuple(pieces), start, tail)
