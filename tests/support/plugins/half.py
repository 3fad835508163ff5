"""A plugin whose ``register`` fails after it has added a handler."""

from typing import Any

from gristmill.plugin import Gristmill, JobRun, Registry, TransactionalHandler, job_type


@job_type("half.declared")
def declared(run: JobRun) -> None: ...


class Half(TransactionalHandler):
    type = "half.registered"


def register(registry: Registry, gristmill: Gristmill) -> Any:
    registry.add(Half())
    raise LookupError("no such table")
