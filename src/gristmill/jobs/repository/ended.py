"""SQL of how the chunks stand that messages named: what their worker process has not said, or nobody has taken."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from gristmill.jobs.repository.claim import Address, parameters_of

_ENDED = """
SELECT m.job_id, m.number, m.dispatch, coalesce(c.state, 'gone') AS state, coalesce(c.dispatch <> m.dispatch, false),
    coalesce(c.error ->> 'code', ''), CASE WHEN j.finished_at IS NOT NULL THEN j.state ELSE '' END
FROM unnest(%(job_ids)s::uuid[], %(numbers)s::int[], %(dispatches)s::int[]) AS m (job_id, number, dispatch)
LEFT JOIN gristmill.chunks c ON c.job_id = m.job_id AND c.number = m.number
LEFT JOIN gristmill.jobs j ON j.id = c.job_id
"""


class Found(NamedTuple):
    """How a chunk stands. state: ``gone`` where there is none. again: it was sent anew since.

    code: of its error. job: the end state of its job, or "".
    """

    address: Address
    state: str
    again: bool
    code: str
    job: str


def read_ends(connection: Connection, addresses: Sequence[Address]) -> list[Found]:
    """Return how the chunks stand that messages named."""
    found = connection.exec_driver_sql(_ENDED, parameters_of(addresses))
    return [Found((row[0], row[1], row[2]), *row[3:]) for row in found]
