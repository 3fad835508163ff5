"""Takes a dataset's index in: its segments with the records they still have, gaps between them, and the tail."""

import uuid

from sqlalchemy import Connection

from gristmill.search import repository
from gristmill.search.policy import Piece, Survey


def take_survey(connection: Connection, dataset_id: uuid.UUID, table: str, longest_tail: int | None = None) -> Survey:
    """Count the records of each ready segment, of gaps and of the tail, by the index on ``_id`` alone.

    longest_tail: counting the tail ends there. A segment whose index is gone is a gap.
    """
    pieces: list[Piece] = []
    start = 1
    for segment in repository.all_segments(connection, dataset_id):
        if segment.state != "ready":
            continue
        if start < segment.lo:
            held = repository.count_records(connection, table, start, segment.lo)
            pieces.append(Piece(start, segment.lo, held, 0, None))
        held = repository.count_records(connection, table, segment.lo, segment.hi)
        pieces.append(Piece(segment.lo, segment.hi, held, segment.rows, segment))
        start = segment.hi
    tail = repository.count_records(connection, table, start, limit=longest_tail)
    return Survey(tuple(pieces), start, tail)
