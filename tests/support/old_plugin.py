"""A plugin as it was written for 0.1, before there was ``gristmill.plugin``: the old names work for one release.

The example of that time, with a dataset of the test in place of the demo's, and a sharing handler as the docs had it.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from gristmill.bootstrap import Gristmill
from gristmill.jobs.handlers import ChunkTask, Outcome, Registry, SharingHandler, TransactionalHandler
from gristmill.jobs.submit import NewChunk, NewJob, Request, submit

TABLE = """
CREATE TABLE IF NOT EXISTS public.daily_weather (
    airport text, day date, temperature float, PRIMARY KEY (airport, day)
)
"""
FILL = """
INSERT INTO public.daily_weather
SELECT airport, at::date, avg(temperature) FROM data.old_weather WHERE at >= :since GROUP BY 1, 2
ON CONFLICT (airport, day) DO UPDATE SET temperature = EXCLUDED.temperature
"""
ADD = "INSERT INTO public.daily_weather VALUES (:airport, '2000-01-01', 0)"


class DailyWeather(TransactionalHandler):
    """Its rows and the chunk's ``done`` go into one commit, so it happens once, whatever is killed in between."""

    type = "weather.daily"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        connection.execute(text(TABLE))
        days = connection.execute(text(FILL), {"since": task.args["since"]}).rowcount
        return Outcome(succeeded=task.records, result={"days": days})


class Airports(SharingHandler):
    """Small chunks of several jobs in one transaction."""

    type = "weather.airports"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        connection.execute(text(TABLE))
        connection.execute(text(ADD), {"airport": task.args["airport"]})
        return Outcome(succeeded=task.records)

    def groups(self, pairs: Sequence[Any]) -> list[list[Any]]:
        return [list(pairs)]

    def apply_all(self, connection: Connection, group: Sequence[Any]) -> list[Outcome]:
        return [self.apply(connection, task, prepared) for task, prepared in group]


def register(registry: Registry, gristmill: Gristmill) -> None:
    """Called once in each process; named by the setting ``jobs.plugins``."""
    registry.add(DailyWeather())
    registry.add(Airports())


def submit_one(gristmill: Gristmill, since: str) -> uuid.UUID:
    """Submit a job and return its id.

    It is exclusive in the scope of the dataset: it sees everything that was submitted for the dataset before it, and
    whatever comes later waits for it.
    """
    job = NewJob(
        type=DailyWeather.type,
        scope="dataset:old_weather",
        exclusive=True,
        args={"since": since},
        dataset=None,
        chunks=[NewChunk(first_record=0, records=1, payload=None)],
    )
    with gristmill.database.transaction() as connection:
        # Whatever else this transaction writes is committed together with the job, or not at all.
        job_id = submit(connection, job, Request(principal="example", request_id="daily-weather"))
    gristmill.notifier.due()
    return job_id


def submit_airport(gristmill: Gristmill, airport: str) -> uuid.UUID:
    """Submit a small job that may share a message with others of its kind."""
    chunks = [NewChunk(first_record=0, records=1, payload=b"-")]
    job = NewJob(Airports.type, "airports", False, {"airport": airport}, None, chunks, shares=True)
    with gristmill.database.transaction() as connection:
        return submit(connection, job, Request(principal="example", request_id="airport"))
