"""Idempotency keys: the same key with the same request is answered with the job that it made first."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.jobs.errors import IdempotencyKeyReused, Signal
from gristmill.jobs.repository import submit as repository


class Replayed(Signal):
    """Another request with the same Idempotency-Key committed first; nothing of this one may be kept."""

    def __init__(self, job_id: uuid.UUID) -> None:
        super().__init__(f"replayed job {job_id}")
        self.job_id = job_id


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client sent. body_hash: covers whatever must be equal for a replay. hours: for which a key is kept."""

    principal: str
    key: str
    body_hash: str
    hours: float

    def replay(self, held: tuple[uuid.UUID, str]) -> uuid.UUID:
        """Return the job that (job id, body hash) ``held`` names. Raises IdempotencyKeyReused."""
        job_id, body_hash = held
        if body_hash != self.body_hash:
            raise IdempotencyKeyReused(
                f"The Idempotency-Key {self.key!r} was used for another request, which made job {job_id}",
                job=str(job_id),
            )
        return job_id

    def find(self, connection: Connection) -> uuid.UUID | None:
        """Return the job that this key made before; ask before any check of state. Raises IdempotencyKeyReused."""
        held = repository.find_key(connection, self.principal, self.key, self.hours)
        return None if held is None else self.replay(held)

    def is_held(self, database: Database) -> bool:
        """Say whether a request had this key, whatever its body."""
        with database.autocommit() as connection:
            return repository.find_key(connection, self.principal, self.key, self.hours) is not None

    def hold(self, connection: Connection) -> None:
        """Keep the key from other requests until the transaction ends; waits for one that has it.

        Raises Replayed, IdempotencyKeyReused.
        """
        held = repository.hold_key(connection, self.principal, self.key, self.hours)
        if held is not None:
            raise Replayed(self.replay(held))


@contextlib.contextmanager
def once(database: Database, key: IdempotencyKey | None, job_id: uuid.UUID) -> Iterator[Connection | None]:
    """Yield the connection of a transaction that changes a job, or None where a request with the key has done so.

    The key is kept if the transaction commits. Raises IdempotencyKeyReused.
    """
    with database.transaction() as connection:
        if key is None:
            yield connection
            return
        try:
            key.hold(connection)
        except Replayed:
            yield None
            return
        yield connection
        repository.keep_key(connection, key.principal, key.key, key.body_hash, job_id)


def first_or(database: Database, key: IdempotencyKey | None, make: Callable[[], uuid.UUID]) -> uuid.UUID:
    """Return the job that the key made before, or else the one that ``make`` submits.

    A request with the same key that commits while ``make`` runs was first, too. Raises IdempotencyKeyReused.
    """
    if key is not None:
        with database.autocommit() as connection:
            first = key.find(connection)
        if first is not None:
            return first
    try:
        return make()
    except Replayed as replayed:
        return replayed.job_id
