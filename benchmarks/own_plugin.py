"""Job types of one's own for the scenario ``own_jobs``: a row is written, as an ingest job of one record does."""

from pydantic import BaseModel
from sqlalchemy import text

from gristmill.plugin import JobRun, job_type

TABLE = "CREATE TABLE IF NOT EXISTS public.bench_notes (id text PRIMARY KEY, note text, value float)"
_UPSERT = text(
    "INSERT INTO public.bench_notes VALUES (:id, :note, :value) "
    "ON CONFLICT (id) DO UPDATE SET note = EXCLUDED.note, value = EXCLUDED.value"
)


class Note(BaseModel):
    id: str
    note: str
    value: float


@job_type("bench.alone")
def alone(run: JobRun, args: Note) -> dict[str, str]:
    """Write a row; each job has a message and a transaction of its own."""
    run.connection.execute(_UPSERT, args.model_dump())
    return {"id": args.id}


@job_type("bench.shared", shares=True)
def shared(run: JobRun, args: Note) -> dict[str, str]:
    """Write a row; jobs that wait share messages and transactions."""
    run.connection.execute(_UPSERT, args.model_dump())
    return {"id": args.id}
