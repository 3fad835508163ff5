"""SQL of the dispatcher: choosing what is due, marking it sent, and taking that back."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg2.extras
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.repository.ended import read_ends
from gristmill.jobs.repository.order import is_first, is_first_elsewhere

# Dispatchers and retries exclude each other: what a retry checked must still hold when it commits.
DISPATCH_LOCK = "SELECT pg_advisory_xact_lock(7041, 1)"

# So many small chunks count as one message in the window: they mostly travel several in one.
SHARE = 8
# Records that the chunks of one message have together at most.
BUNDLE_RECORDS = 1000

# This one commit need not reach the disk before the messages go out. A mark that a crash of Postgres undoes is made
# again under the same dispatch number, and of two messages with one number the claim takes one. No claim outlives the
# mark that it answers: its own commit, which is flushed, comes later in the same log.
_LAZILY = "SET LOCAL synchronous_commit = off"
# ``next`` is what comes first in its scopes. Of it as much is taken as the window has room for: a small chunk counts 1,
# any other one SHARE. ``run`` holds what follows in the scope of a small chunk: where an exclusive job is among the
# first unfinished jobs of a scope, and all up to it are small, they go out in one message and wait for nobody else.
_MARK = Prepared(
    f"""
WITH next AS (
    SELECT c.job_id, c.number, c.priority, c.seq, c.records, c.shares AND c.attempts = 0 AS shares, j.scope, j.type,
        j.submitted_by, j.request_id, j.traceparent, j.dataset
    FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
    WHERE c.state = 'waiting' AND c.queue = %(queue)s AND c.seq IS NOT NULL AND c.run_at <= clock_timestamp()
        AND j.state IN ('queued', 'running') AND {is_first()}
        AND (NOT j.serial OR NOT EXISTS (SELECT FROM gristmill.chunks b WHERE b.job_id = j.id AND b.number < c.number
            AND b.state IN ('waiting', 'sent', 'running')))
    ORDER BY c.priority DESC, c.seq, c.number
    LIMIT %(room)s
), weighed AS (
    SELECT *, sum(CASE WHEN shares THEN 1 ELSE %(share)s END) OVER (ORDER BY priority DESC, seq, number) AS weight
    FROM next
), line AS (
    SELECT l.*, row_number() OVER w AS place,
        bool_and(joins) OVER w AND sum(records) OVER w <= %(records)s AS joined
    FROM (SELECT DISTINCT scope FROM weighed WHERE shares AND weight <= %(room)s) s CROSS JOIN LATERAL (
        SELECT j.id AS job_id, c.number, c.priority, j.seq, c.records, j.scope, j.type, j.submitted_by, j.request_id,
            j.traceparent, j.dataset, j.exclusive, coalesce(c.state = 'waiting' AND c.shares AND c.attempts = 0
                AND c.queue = %(queue)s AND c.run_at <= clock_timestamp() AND j.state IN ('queued', 'running')
                AND {is_first_elsewhere("AND e.scope <> j.scope")}, false) AS joins
        FROM gristmill.jobs j LEFT JOIN gristmill.chunks c ON c.job_id = j.id AND c.number = 0
        WHERE j.scope = s.scope AND j.finished_at IS NULL AND j.seq IS NOT NULL
            AND EXISTS (SELECT FROM gristmill.jobs x WHERE x.scope = s.scope AND x.exclusive AND x.finished_at IS NULL)
        ORDER BY j.seq LIMIT %(most)s) l
    WINDOW w AS (PARTITION BY l.scope ORDER BY l.seq)
), run AS (
    SELECT * FROM (SELECT *, bool_or(exclusive) OVER (PARTITION BY scope) AS ordered FROM line WHERE joined) l
    WHERE ordered
), chosen AS (
    SELECT job_id, number, priority, seq, records, shares, type, submitted_by, request_id, traceparent, dataset,
        NULL::text AS run, 0 AS place
    FROM weighed w WHERE weight <= %(room)s AND NOT EXISTS (SELECT FROM run WHERE run.scope = w.scope)
    UNION ALL
    SELECT job_id, number, priority, seq, records, true, type, submitted_by, request_id, traceparent, dataset, scope,
        place FROM run
), locked AS (
    SELECT o.* FROM gristmill.chunks c JOIN chosen o ON o.job_id = c.job_id AND o.number = c.number
    WHERE c.state = 'waiting'
    FOR UPDATE OF c SKIP LOCKED
), due AS (
    -- What somebody holds is left for the next time, and in a run whatever comes after it.
    SELECT *, row_number() OVER (PARTITION BY run ORDER BY seq) AS found FROM locked
)
UPDATE gristmill.chunks c SET state = 'sent', dispatch = dispatch + 1, sent_at = clock_timestamp()
FROM due WHERE c.job_id = due.job_id AND c.number = due.number AND (due.run IS NULL OR due.place = due.found)
RETURNING c.job_id, c.number, c.dispatch, due.type, due.priority, due.seq, due.submitted_by, due.request_id,
    due.traceparent, due.shares, due.records, due.run, due.dataset
""",  # noqa: S608 - constants of this package
    queue="text",
    room="int",
    share="int",
    most="int",
    records="int",
)
# Counting what is sent or runs is bounded by the windows; of what waits only the first is looked for.
_LOAD = Prepared(
    """
SELECT q, sent.weight / %(share)s, sent.chunks + running.chunks,
    EXISTS (SELECT FROM gristmill.chunks WHERE state = 'waiting' AND queue = q AND seq IS NOT NULL
        AND run_at <= clock_timestamp())
FROM unnest(%(queues)s) AS q,
    LATERAL (SELECT coalesce(sum(CASE WHEN shares AND attempts = 0 THEN 1 ELSE %(share)s END), 0)::float AS weight,
        count(*) AS chunks FROM gristmill.chunks WHERE state = 'sent' AND queue = q) AS sent,
    LATERAL (SELECT count(*) AS chunks FROM gristmill.chunks WHERE state = 'running' AND queue = q) AS running
""",
    queues="text[]",
    share="int",
)
_SLOTS = """
SELECT coalesce(sum(slots), 0) FROM gristmill.processes
WHERE kind = 'worker' AND queue = %(queue)s AND beat_at > now() - interval '60 seconds'
"""
_OTHERS_WAIT = """
SELECT EXISTS (SELECT FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
    WHERE c.state = 'sent' AND c.queue = %(queue)s AND j.type <> %(type)s)
"""
_UNSEND = """
UPDATE gristmill.chunks SET state = 'waiting'
WHERE job_id = %(job_id)s AND number = %(number)s AND dispatch = %(dispatch)s AND state = 'sent'
"""
# As often as workers say so the pause before the next message doubles, up to a minute.
_RETURN_UNKNOWN = """
WITH chunk AS (
    UPDATE gristmill.chunks c SET state = 'waiting', resends = resends + 1, error = %(error)s,
        run_at = clock_timestamp() + least(60, 1 << least(resends, 6)) * interval '1 second'
    FROM unnest(%(job_ids)s::uuid[], %(numbers)s::int[], %(dispatches)s::int[]) AS m (job_id, number, dispatch)
    WHERE c.job_id = m.job_id AND c.number = m.number AND c.dispatch = m.dispatch AND c.state = 'sent'
    RETURNING c.job_id, c.number
), job AS (
    UPDATE gristmill.jobs j SET error = %(error)s::jsonb || '{"waiting": true}'::jsonb
    FROM chunk WHERE j.id = chunk.job_id AND (j.error IS NULL OR j.error ? 'waiting')
)
SELECT job_id, number FROM chunk
"""
_RESEND = """
UPDATE gristmill.chunks SET state = 'waiting', resends = resends + 1
WHERE (job_id, number) IN (
    SELECT job_id, number FROM gristmill.chunks
    WHERE state = 'sent' AND sent_at < clock_timestamp() - %(after)s * (1 << least(resends, 6)) * interval '1 second'
    LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING job_id, number
"""


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to the broker for one chunk: never the data. ``shares``: others may go along in the same message.

    run: the scope whose next jobs must go in one message with this one, in their order; None for any other chunk.
    """

    job_id: uuid.UUID
    number: int
    dispatch: int
    type: str
    priority: int
    seq: int
    submitted_by: str = ""
    request_id: str = ""
    traceparent: str | None = None
    shares: bool = False
    records: int = 0
    run: str | None = None
    dataset: str | None = None


class Load(NamedTuple):
    """What is under way of a queue. unclaimed: messages that were sent, about. chunks: those that are sent or run.

    maybe_due: whether anything else might be due.
    """

    unclaimed: float
    chunks: int
    maybe_due: bool


def read_load(connection: Connection, queues: Sequence[str]) -> dict[str, Load]:
    """Return the load of each queue."""
    rows = execute(connection, {"queues": list(queues), "share": SHARE}, _LOAD)
    return {row[0]: Load(*row[1:]) for row in rows}


def count_slots(connection: Connection, queue: str) -> int:
    """Return how many chunks the live workers of the queue can run at once."""
    return int(connection.exec_driver_sql(_SLOTS, {"queue": queue}).scalar_one())


def mark_sent(connection: Connection, queue: str, free: float, most: int = 1) -> list[Message]:
    """Mark due chunks as sent under new dispatch numbers, most urgent and then oldest first.

    free: so many messages; a chunk that shares is an eighth of one. most: chunks that share a message at most.
    """
    parameters = {
        "queue": queue,
        "room": int(free * SHARE),
        "share": SHARE,
        "most": most,
        "records": BUNDLE_RECORDS,
    }
    rows = execute(connection, parameters, _LAZILY, DISPATCH_LOCK, _MARK)
    found = [Message(*row) for row in rows]
    return sorted(found, key=lambda message: (-message.priority, message.seq, message.number))


def others_wait(connection: Connection, queue: str, type_: str) -> bool:
    """Say whether a chunk of another job type was sent that no worker of the queue has taken yet.

    As a rule all of them are at work then.
    """
    return bool(connection.exec_driver_sql(_OTHERS_WAIT, {"queue": queue, "type": type_}).scalar_one())


def unsend(connection: Connection, job_id: uuid.UUID, number: int, dispatch: int) -> bool:
    """Take back a message that certainly nobody will claim; False if it was claimed, or sent anew, before."""
    parameters = {"job_id": str(job_id), "number": number, "dispatch": dispatch}
    return bool(connection.exec_driver_sql(_UNSEND, parameters).rowcount)


def unclaimed(connection: Connection, chunks: Sequence[Message]) -> set[Message]:
    """Return those of the messages that nobody has claimed."""
    by_address = {(chunk.job_id, chunk.number, chunk.dispatch): chunk for chunk in chunks}
    found = read_ends(connection, list(by_address))
    return {by_address[one.address] for one in found if one.state == "sent" and not one.again}


def return_unknown(
    connection: Connection, addresses: Sequence[tuple[uuid.UUID, int, int]], problem: dict[str, Any]
) -> list[tuple[uuid.UUID, int]]:
    """Put chunks back to waiting that a worker cannot carry out and nobody has claimed; their jobs show the problem."""
    parameters = {
        "job_ids": [str(job_id) for job_id, _, _ in addresses],
        "numbers": [number for _, number, _ in addresses],
        "dispatches": [dispatch for _, _, dispatch in addresses],
        "error": psycopg2.extras.Json(problem),
    }
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_RETURN_UNKNOWN, parameters)]


def resend_unclaimed(connection: Connection, after: float) -> list[tuple[uuid.UUID, int]]:
    """Put chunks back to waiting whose message nobody claimed for ``after`` seconds, twice as long at each resend."""
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_RESEND, {"after": after})]
