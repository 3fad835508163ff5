"""A plugin as it was written for the first release: its imports are those that the documentation had then."""

from typing import Any

from sqlalchemy import Connection, text

from gristmill.bootstrap import Gristmill
from gristmill.jobs.handlers import ChunkTask, Outcome, Registry, TransactionalHandler
from gristmill.jobs.submit import NewChunk, NewJob, Request, submit  # noqa: F401 - as the example had it

_WRITE = "INSERT INTO public.landed (job, chunk, payload) VALUES (:job, :chunk, :payload)"


class Landed(TransactionalHandler):
    """Writes what each chunk brought."""

    type = "landed.write"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        payload = (task.payload or b"").decode()
        values = {"job": task.args["name"], "chunk": task.number, "payload": payload}
        connection.execute(text(_WRITE), values)
        return Outcome(succeeded=task.records)


def register(registry: Registry, gristmill: Gristmill) -> None:
    registry.add(Landed())
